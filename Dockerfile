# One image a service: docker build --target gateway|worker|explainer|monitor|archive|console .
FROM python:3.12-slim AS python
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUTF8=1 PATH=/venv/bin:$PATH
WORKDIR /app

FROM python AS installer
RUN python3 -m venv /venv
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

FROM installer AS gateway-libraries
COPY requirements/gateway.txt .
RUN pip install --require-hashes --only-binary :all: -r gateway.txt

FROM installer AS worker-libraries
COPY requirements/worker.txt .
RUN pip install --require-hashes --only-binary :all: -r worker.txt

FROM installer AS monitor-libraries
COPY requirements/monitor.txt .
RUN pip install --require-hashes --only-binary :all: -r monitor.txt

FROM installer AS archive-libraries
COPY requirements/archive.txt .
RUN pip install --require-hashes --only-binary :all: -r archive.txt

FROM installer AS explainer-libraries
COPY requirements/explainer.txt .
RUN pip install --require-hashes --only-binary :all: -r explainer.txt

FROM installer AS console-libraries
COPY requirements/console.txt .
RUN pip install --require-hashes --only-binary :all: -r console.txt

FROM python AS service
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin observa
COPY broker broker
USER 10001:10001

FROM service AS gateway
COPY --from=gateway-libraries /venv /venv
COPY gateway gateway
ENV OBSERVA_GATEWAY_HOST=0.0.0.0 OBSERVA_GATEWAY_INTERNAL_HOST=0.0.0.0
EXPOSE 8000 9000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
CMD ["python3", "-m", "gateway"]

FROM service AS worker
COPY --from=worker-libraries /venv /venv
COPY models models
COPY worker worker
ENV OBSERVA_WORKER_METRICS_HOST=0.0.0.0 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
EXPOSE 9101
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9101/healthz', timeout=2)"]
CMD ["python3", "-m", "worker"]

FROM service AS monitor
COPY --from=monitor-libraries /venv /venv
COPY models models
COPY monitor monitor
ENV OBSERVA_MONITOR_HOST=0.0.0.0 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
EXPOSE 8001
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8001/healthz', timeout=2)"]
CMD ["python3", "-m", "monitor"]

FROM service AS archive
COPY --from=archive-libraries /venv /venv
COPY models models
COPY archive archive
USER root
RUN install -d -m 0700 -o 10001 -g 10001 /archive
USER 10001:10001
ENV OBSERVA_ARCHIVE_HOST=0.0.0.0 OBSERVA_ARCHIVE=/archive
EXPOSE 8003
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8003/healthz', timeout=2)"]
CMD ["python3", "-m", "archive"]

FROM service AS explainer
COPY --from=explainer-libraries /venv /venv
COPY models models
COPY worker worker
ENV OBSERVA_EXPLAINER_HOST=0.0.0.0 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_CACHE_DIR=/tmp
EXPOSE 8002
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8002/healthz', timeout=2)"]
CMD ["python3", "-m", "worker.explaining"]

FROM service AS console
COPY --from=console-libraries /venv /venv
COPY console console
ENV OBSERVA_CONSOLE_HOST=0.0.0.0 HOME=/tmp
EXPOSE 7860
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/healthz', timeout=2)"]
CMD ["python3", "-m", "console"]
