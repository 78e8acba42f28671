# The gRPC front door. No torch: what reads models and rows is the worker.
#   docker build -f deploy/docker/service.Dockerfile -t hotfire-service .
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY client client
COPY service service
COPY workers workers
# pip stays behind in this stage; `constraints.txt` holds the versions that the tests ran with.
RUN python -m venv --without-pip /opt/hotfire \
 && python -m pip --python /opt/hotfire/bin/python install --no-cache-dir -c constraints.txt '.[service]'

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/hotfire /opt/hotfire
# The folder exists with its owner before a volume is put over it: a new named volume takes both from here.
RUN useradd --uid 10001 --user-group --home-dir /var/lib/hotfire --no-log-init --shell /usr/sbin/nologin hotfire \
 && install -d -o hotfire -g hotfire -m 0750 /var/lib/hotfire /var/lib/hotfire/artifacts
ENV PATH=/opt/hotfire/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOTFIRE_SERVICE_HOST=0.0.0.0 \
    HOTFIRE_STORE_ARTIFACTS_URL=/var/lib/hotfire/artifacts
USER 10001:10001
WORKDIR /var/lib/hotfire
EXPOSE 50051
# Ready means that Redis answers; for "the process lives" leave --service out.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-m", "hotfire_service.probe", "--service", "hotfire.v1.PreflightService"]
STOPSIGNAL SIGTERM
CMD ["hotfire", "serve"]
