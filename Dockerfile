# syntax=docker/dockerfile:1
FROM python:3.11-slim-bookworm AS build

RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential libzstd-dev liblz4-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/driftlock && /opt/driftlock/bin/pip install --no-cache-dir 'pip>=25.1'
WORKDIR /src
# Dependencies first: they change less often than the code, so their layer is reused. One image is every role, so the clients of
# Kafka (gateway, worker) and Firebase (sign-ins) are in it.
COPY pyproject.toml ./
RUN /opt/driftlock/bin/pip install --no-cache-dir --group build \
    && /opt/driftlock/bin/python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; e = p['optional-dependencies']; print(*p['dependencies'], *e['kafka'], *e['firebase'], sep='\n')" > requirements.txt \
    && /opt/driftlock/bin/pip install --no-cache-dir -r requirements.txt
COPY . .
RUN /opt/driftlock/bin/pip install --no-cache-dir --no-build-isolation --no-deps . \
    && /opt/driftlock/bin/pip uninstall --yes setuptools Cython grpcio-tools mypy-protobuf


FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends libzstd1 zlib1g tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 driftlock \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/driftlock --create-home driftlock
COPY --from=build /opt/driftlock /opt/driftlock
ENV PATH=/opt/driftlock/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DRIFTLOCK_DATA_DIR=/var/lib/driftlock/data \
    DRIFTLOCK_LOG_FORMAT=json \
    DRIFTLOCK_OTLP_GRPC_ADDR=0.0.0.0:4317 \
    DRIFTLOCK_OTLP_HTTP_ADDR=0.0.0.0:4318 \
    PORT=8080
RUN install -d -o driftlock -g driftlock -m 0700 /var/lib/driftlock/data
# By number: Kubernetes can not tell from a name that it is not root's.
USER 10001:10001
VOLUME /var/lib/driftlock/data
EXPOSE 4317 4318 8080
# Platforms that set PORT move REST there, and the health of a worker; the check follows it. A gateway has its health on the same
# port of loopback, because its OTLP addresses are set above: see docs/deploy.md.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/livez\", timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "driftlock"]
CMD ["serve"]
