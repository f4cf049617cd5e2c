# Builds uplift and ships it in a small image that does not run as root.
#
#   docker build -t uplift .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/results:/bench/results" uplift compare baseline optimized --quick
#
# Both base images are arguments, for places where these cannot be pulled; docker/base-images makes them there from
# Debian's packages.
# The results folder must be writable for the user that is named.
ARG BUILD_IMAGE=rust:1.95-bookworm
ARG RUN_IMAGE=debian:bookworm-slim

# All but the binary. docker/image-of-binary stops here and adds one that is built already.
FROM ${RUN_IMAGE} AS run
RUN apt-get update \
 && apt-get install -y --no-install-recommends libssl3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 uplift \
 && mkdir -p /bench/results && chown -R uplift /bench
COPY scenarios /bench/scenarios
USER uplift
WORKDIR /bench
ENTRYPOINT ["uplift"]

FROM ${BUILD_IMAGE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential pkg-config libssl-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --features wasm && strip --strip-debug -o /uplift target/release/uplift

FROM run
COPY --from=build /uplift /usr/local/bin/uplift
