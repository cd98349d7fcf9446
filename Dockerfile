# One image for the service and the consumers, with what production needs and nothing of development.
# `serve` and `work` are its commands; compose.yaml runs both on a read-only root.
FROM python:3.11-slim-bookworm AS python

FROM python AS wheel
WORKDIR /source
COPY requirements-build.lock ./
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY backend backend
COPY queue_consumers queue_consumers
COPY scripts scripts
COPY supabase/config.toml supabase/config.toml
COPY supabase/migrations supabase/migrations
COPY supabase/tests supabase/tests
RUN python -m hatchling build --target wheel --directory /wheel

FROM python AS environment
WORKDIR /source
RUN python -m venv /opt/likeness
COPY requirements-production.lock ./
RUN /opt/likeness/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes --only-binary :all: -r requirements-production.lock
COPY --from=wheel /wheel /wheel
RUN /opt/likeness/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-index --find-links /wheel likeness \
  && /opt/likeness/bin/pip uninstall --yes --disable-pip-version-check pip setuptools

FROM python
# Nothing is written but temporary files without a name, in /tmp. An owner of nothing runs it.
ENV PATH=/opt/likeness/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    HOST=0.0.0.0 \
    PORT=8000
COPY --from=environment /opt/likeness /opt/likeness
WORKDIR /opt/likeness
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["likeness"]
CMD ["serve"]
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=3 CMD ["likeness", "health", "service"]
