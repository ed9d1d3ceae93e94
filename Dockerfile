# atldld for servers and batches. It runs as an ordinary user and needs nothing writable but the two folders
# below and /tmp:
#
#   docker build --build-arg VERSION="$(git describe --tags)" -t atldld .
#   docker run --rm --read-only --tmpfs /tmp -v atldld-cache:/cache -p 8765:8765 atldld
#   docker run --rm --read-only --tmpfs /tmp -v atldld-cache:/cache -v "$PWD":/work \
#       --user "$(id -u):$(id -g)" atldld download datasets list.txt out
#
# The base image is named by version, since Debian's corrections come in under the same name. Pin it by digest,
# python:3.13-slim-bookworm@sha256:..., where the same image must come out again.

FROM python:3.13-slim-bookworm AS build

# a build context has no history, so the version is told
ARG VERSION=1.0.0.dev0
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 SETUPTOOLS_SCM_PRETEND_VERSION=${VERSION}

WORKDIR /source
COPY constraints.txt ./
RUN python -m venv /opt/build \
    && /opt/build/bin/python -m pip install -c constraints.txt hatchling hatch-vcs \
    && python -m venv /opt/atldld

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /opt/build/bin/python -m hatchling build -t wheel -d /tmp/wheel \
    && /opt/atldld/bin/python -m pip install -c constraints.txt "$(echo /tmp/wheel/*.whl)[all]" \
    && /opt/atldld/bin/python -m pip uninstall --yes pip

FROM python:3.13-slim-bookworm

LABEL org.opencontainers.image.title="atldld" \
      org.opencontainers.image.description="Allen Brain Atlas section data sets in the brain's reference coordinates" \
      org.opencontainers.image.source="https://github.com/atldld/atldld" \
      org.opencontainers.image.licenses="BSD-3-Clause"

COPY --from=build /opt/atldld /opt/atldld

# compiled files are in the image; what is not is not written either
ENV PATH=/opt/atldld/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    ATLDLD_CACHE_DIR=/cache

# whoever it runs as: --user may name anybody who can write to the folders
RUN groupadd --gid 10001 atldld \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin atldld \
    && install -d -m 0777 /cache /work
USER 10001:10001
WORKDIR /work
VOLUME ["/cache"]
EXPOSE 8765

HEALTHCHECK --interval=30s --timeout=10s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/', timeout=8)"]

ENTRYPOINT ["atldld"]
# what has been fetched into the cache, at the service's own URLs
CMD ["serve", "cache", "--host", "0.0.0.0", "--public"]
