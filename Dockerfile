# One image a service: docker build --target gateway .   (all of them: just build)
FROM python:3.12-slim AS python
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUTF8=1 PATH=/venv/bin:$PATH
WORKDIR /app

FROM python AS installer
COPY requirements/installer.txt .
RUN python3 -m venv /installer \
    && /installer/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r installer.txt \
    && python3 -m venv --without-pip /venv
ENV UV_CACHE_DIR=/cache VIRTUAL_ENV=/venv UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_BUILD=1 UV_REQUIRE_HASHES=1 PATH=/installer/bin:$PATH

FROM installer AS gateway-libraries
COPY requirements/gateway.txt .
RUN --mount=type=cache,target=/cache uv pip install -r gateway.txt

FROM installer AS worker-libraries
COPY requirements/worker.txt .
RUN --mount=type=cache,target=/cache uv pip install -r worker.txt

FROM installer AS explainer-libraries
COPY requirements/explainer.txt .
RUN --mount=type=cache,target=/cache uv pip install -r explainer.txt

FROM installer AS monitor-libraries
COPY requirements/monitor.txt .
RUN --mount=type=cache,target=/cache uv pip install -r monitor.txt

FROM installer AS archive-libraries
COPY requirements/archive.txt .
RUN --mount=type=cache,target=/cache uv pip install -r archive.txt

FROM installer AS console-libraries
COPY requirements/console.txt .
RUN --mount=type=cache,target=/cache uv pip install -r console.txt

FROM installer AS cli-libraries
COPY requirements/cli.txt .
RUN --mount=type=cache,target=/cache uv pip install -r cli.txt

FROM installer AS mlflow-libraries
COPY requirements/mlflow.txt .
RUN --mount=type=cache,target=/cache uv pip install -r mlflow.txt

# Where torch's wheel lies on this machine, if it does: --build-context wheels=FOLDER
FROM scratch AS wheels

FROM installer AS trainer-libraries
COPY requirements/trainer.txt .
RUN --mount=type=cache,target=/cache uv pip install -r trainer.txt
# Apart from the rest and without hashes: the build for processors alone is another file on each platform.
RUN --mount=type=cache,target=/cache --mount=type=bind,from=wheels,target=/wheels \
    if ls /wheels/torch-2.13.0*.whl >/dev/null 2>&1; then where="--find-links=/wheels"; else where="--torch-backend=cpu"; fi \
    && UV_REQUIRE_HASHES=0 uv pip install "$where" torch==2.13.0

FROM python AS service
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin observa
COPY --chmod=0755 deploy/healthy.py /usr/local/bin/healthy
COPY broker broker
USER 10001:10001

FROM service AS gateway
COPY --from=gateway-libraries /venv /venv
COPY gateway gateway
ENV OBSERVA_GATEWAY_HOST=0.0.0.0 OBSERVA_GATEWAY_INTERNAL_HOST=0.0.0.0
EXPOSE 8000 9000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["healthy", "8000/readyz"]
CMD ["python3", "-m", "gateway"]

FROM service AS worker
COPY --from=worker-libraries /venv /venv
COPY models models
COPY worker worker
ENV OBSERVA_WORKER_METRICS_HOST=0.0.0.0 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
EXPOSE 9101
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["healthy", "9101/healthz"]
CMD ["python3", "-m", "worker"]

FROM service AS explainer
COPY --from=explainer-libraries /venv /venv
COPY models models
COPY worker worker
ENV OBSERVA_EXPLAINER_HOST=0.0.0.0 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_CACHE_DIR=/tmp
EXPOSE 8002
HEALTHCHECK --interval=5s --timeout=3s --start-period=180s --retries=3 CMD ["healthy", "8002/healthz"]
CMD ["python3", "-m", "worker.explaining"]

FROM service AS monitor
COPY --from=monitor-libraries /venv /venv
COPY models models
COPY monitor monitor
ENV OBSERVA_MONITOR_HOST=0.0.0.0 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
EXPOSE 8001
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["healthy", "8001/healthz"]
CMD ["python3", "-m", "monitor"]

FROM service AS archive
COPY --from=archive-libraries /venv /venv
COPY models models
COPY archive archive
USER 0:0
RUN install -d -m 0700 -o 10001 -g 10001 /archive
USER 10001:10001
ENV OBSERVA_ARCHIVE_HOST=0.0.0.0 OBSERVA_ARCHIVE=/archive
EXPOSE 8003
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["healthy", "8003/healthz"]
CMD ["python3", "-m", "archive"]

FROM service AS console
COPY --from=console-libraries /venv /venv
COPY console console
ENV OBSERVA_CONSOLE_HOST=0.0.0.0 HOME=/tmp
EXPOSE 7860
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["healthy", "7860/healthz"]
CMD ["python3", "-m", "console"]

FROM service AS mlflow
COPY --from=mlflow-libraries /venv /venv
USER 0:0
RUN install -d -m 0700 -o 10001 -g 10001 /mlflow
USER 10001:10001
ENV HOME=/tmp MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
EXPOSE 5000
HEALTHCHECK --interval=5s --timeout=3s --start-period=120s --retries=3 CMD ["healthy", "5000/health"]
CMD ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "1", \
    "--backend-store-uri", "sqlite:////mlflow/mlflow.db", "--artifacts-destination", "/mlflow/artifacts"]

# What a person runs and what runs once: docker compose run --rm cli log; docker compose run --rm trainer train sentiment
FROM service AS cli
COPY --from=cli-libraries /venv /venv
COPY cli cli
COPY deploy deploy
USER 0:0
RUN for owner in setup redis gateway worker explainer monitor archive trainer operator prometheus alertmanager; do \
        install -d -m 0755 -o 10001 -g 10001 "/run/observa/$owner" || exit 1; \
    done
USER 10001:10001
HEALTHCHECK NONE
ENTRYPOINT ["python3", "-m", "cli"]

FROM service AS trainer
COPY --from=trainer-libraries /venv /venv
COPY worker worker
COPY monitor monitor
COPY trainer trainer
USER 0:0
RUN install -d -m 1777 /cache
USER 10001:10001
ENV HOME=/tmp OBSERVA_TRAINER_CACHE=/cache OBSERVA_TRAINER_BUILD=/cache/build
HEALTHCHECK NONE
ENTRYPOINT ["python3", "-m", "trainer"]
