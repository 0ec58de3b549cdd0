"""`GET /v1/public-config`: what a web page has to know before anybody has signed in. Nothing of it is secret."""

from api.endpoint import Call, Endpoint, Reply
from api.plan_models import FirebaseConfig, PublicConfig, SignInKind


async def get_public_config(call: Call) -> Reply:
    """How people sign in here, and what there is for those who have not."""
    deps = call.deps
    firebase = None
    if deps.people is not None:
        public = deps.people.public
        firebase = FirebaseConfig(project_id=public.project_id, web_api_key=public.web_api_key, auth_domain=public.auth_domain)
    return Reply(
        PublicConfig(
            version=deps.version.version,
            sign_in=SignInKind.LOCAL if firebase is None else SignInKind.FIREBASE,
            firebase=firebase,
            demo=deps.demo is not None,
            plans_url="/v1/plans",
        )
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/public-config",
        "getPublicConfig",
        "system",
        "How people sign in here, and what there is for those who have not",
        get_public_config,
        {200: PublicConfig},
    ),
)
