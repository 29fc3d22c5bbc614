# syntax=docker/dockerfile:1
# One image for each binary, from one build:
#
#   docker build --target gateway --tag heliograph/gateway:0.1.0 .      (writer, detector, query, cli as well)
#
# Base images are pinned by tag. A digest would pin them harder; write one beside the tag when you
# have pulled and looked at it (tag@sha256:…). What runs in here stands in scripts/image-build.sh,
# which also runs without a container engine.

ARG RUST_IMAGE=rust:1.95.0-slim-bookworm
ARG RUNTIME_IMAGE=debian:12.12-slim

# ---- The build. Packages first, since they change least; then the sources. Downloaded crates and
# ---- what was compiled before live in cache mounts, so that an edit compiles what it touches.
FROM ${RUST_IMAGE} AS build
RUN --mount=type=bind,source=scripts/image-build.sh,target=/image-build.sh \
    sh /image-build.sh packages
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target,sharing=locked \
    CARGO_TARGET_DIR=/target sh scripts/image-build.sh build /out

# ---- What every image has in common: Debian's C library, TLS, zlib and root certificates. No
# ---- embedded store (libchdb is loaded by `heliograph up` alone), nothing to write, no root.
FROM ${RUNTIME_IMAGE} AS runtime
RUN --mount=type=bind,source=scripts/image-build.sh,target=/image-build.sh \
    sh /image-build.sh runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.vendor="heliograph" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /
# Drains: no new connections, open uploads finish, the last ticks say "leaving".
STOPSIGNAL SIGTERM

FROM runtime AS gateway
LABEL org.opencontainers.image.title="heliograph-gateway" \
      org.opencontainers.image.description="Takes uploads; a 2xx means durable"
COPY --from=build /out/heliograph-gateway /usr/local/bin/
EXPOSE 8080 9090
ENTRYPOINT ["/usr/local/bin/heliograph-gateway"]

FROM runtime AS writer
LABEL org.opencontainers.image.title="heliograph-writer" \
      org.opencontainers.image.description="Moves uploads from the log to ClickHouse"
COPY --from=build /out/heliograph-writer /usr/local/bin/
EXPOSE 9090
ENTRYPOINT ["/usr/local/bin/heliograph-writer"]

FROM runtime AS detector
LABEL org.opencontainers.image.title="heliograph-detector" \
      org.opencontainers.image.description="Decides which sites have fallen silent"
COPY --from=build /out/heliograph-detector /usr/local/bin/
EXPOSE 9090
ENTRYPOINT ["/usr/local/bin/heliograph-detector"]

FROM runtime AS query
LABEL org.opencontainers.image.title="heliograph-query" \
      org.opencontainers.image.description="Answers viewers and operators over gRPC"
COPY --from=build /out/heliograph-query /usr/local/bin/
EXPOSE 8082 9090
ENTRYPOINT ["/usr/local/bin/heliograph-query"]

FROM runtime AS cli
LABEL org.opencontainers.image.title="heliograph" \
      org.opencontainers.image.description="heliograph migrate, doctor and all other commands"
COPY --from=build /out/heliograph /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/heliograph"]
CMD ["--help"]
