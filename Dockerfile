# The service and the whole command line, without Spark. docs/deploy.md says how to build and run it.

# The models that an empty workspace begins with. Alone the image has none: give a folder written by
# `subsight models bundle WS FOLDER` with --build-context bundle=FOLDER, which takes this stage's place.
FROM scratch AS bundle
# A stage must hold something to be copied from.
COPY LICENSE /

FROM python:3.11.16-slim-trixie AS build
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PROJECT_ENVIRONMENT=/opt/subsight \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /src
RUN pip install --no-cache-dir uv==0.13.9
# What it depends on changes seldom and comes first, so that a change of the code builds in seconds.
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-dev --no-editable --no-install-project
COPY README.md LICENSE ./
COPY src ./src
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-dev --no-editable

FROM python:3.11.16-slim-trixie
RUN groupadd --gid 10001 subsight \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin subsight \
    && install -d -o 10001 -g 10001 /workspace
COPY --from=build /opt/subsight /opt/subsight
COPY --from=bundle / /opt/bundle
# The commit that fit records and /model name: an image has no checkout to ask.
ARG REVISION=""
LABEL org.opencontainers.image.title="subsight" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
ENV HOME=/tmp \
    PATH=/opt/subsight/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    SUBSIGHT_COMMIT="${REVISION}"
USER 10001:10001
WORKDIR /workspace
VOLUME /workspace
# 5000 the API, 3330 Acumos clients where they are served (serve --acumos 3330 --acumos-host 0.0.0.0).
EXPOSE 5000 3330
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:5000/health', timeout=3)"]
ENTRYPOINT ["subsight"]
CMD ["serve", "/workspace", "--host", "0.0.0.0", "--bundle", "/opt/bundle", "--generate-key"]
