"""Plans, and what anybody may know of this server before they sign in."""

from enum import StrEnum

from pydantic import Field

from api.body import Body

EMAIL_CHARS_MAX = 254


class OfferedPlan(Body):
    """A plan. null where it sets no bound, or its price is by agreement."""

    name: str
    title: str
    price_cents: int | None = Field(description="US cents a month; null: by agreement.")
    events_per_month: int | None = Field(description="Records of all signals.")
    streams: int | None = Field(description="A stream counts once for each service, whatever its signals.")
    retention_days: int | None
    requests_per_minute: int | None


class PlanList(Body):
    """The plans that are offered, the smallest first."""

    plans: tuple[OfferedPlan, ...]
    currency: str = Field(description="Always `usd`.")
    trial_days: int


class SignInKind(StrEnum):
    """How people come in."""

    LOCAL = "local"
    FIREBASE = "firebase"


class FirebaseConfig(Body):
    """What a web page needs to let people sign in with Firebase; nothing of it is secret."""

    project_id: str
    web_api_key: str
    auth_domain: str


class PublicConfig(Body):
    """What a web page has to know before anybody has signed in."""

    version: str
    sign_in: SignInKind = Field(description="`local`: there are no people here, keys alone.")
    firebase: FirebaseConfig | None = Field(description="null where `sign_in` is `local`.")
    demo: bool = Field(description="Whether `POST /v1/demo/detect` is there.")
    plans_url: str = Field(description="Path of the plans.")


class WaitlistRequest(Body):
    """Who wants to hear of the hosted service."""

    email: str = Field(max_length=EMAIL_CHARS_MAX, description="An e-mail address.")


class WaitlistAnswer(Body):
    """The same for everybody, whether or not the address was known."""

    status: str = Field(description="Always `noted`.")
