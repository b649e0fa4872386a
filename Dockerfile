# The gpu-worker. The bundle is compiled into the image, so a container starts in seconds:
#   docker build -t foredraft-gpu-worker .
#   docker run -p 8788:8788 -e GPU_WORKER_KEY=... foredraft-gpu-worker
# To keep bundles outside, mount a volume at /app/.cache that holds bundles/<name>.
FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The base image has the Node needed; the locked one is for machines without.
RUN npm ci --omit=dev --omit=optional --ignore-scripts
COPY shared shared
COPY models models
ARG BUNDLE=smollm2-135m
RUN node models/cli.ts "$BUNDLE"

FROM node:24-slim
# libvulkan1: GPU_WORKER_PROVIDER=webgpu on a GPU whose driver the host passes in.
RUN apt-get update && apt-get install -y --no-install-recommends libvulkan1 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ENV NODE_ENV=production GPU_WORKER_HOST=0.0.0.0 GPU_WORKER_PORT=8788
ARG BUNDLE=smollm2-135m
ENV FOREDRAFT_BUNDLE=$BUNDLE
COPY --from=build /app/node_modules node_modules
COPY --from=build --chown=node:node /app/.cache/bundles .cache/bundles
COPY package.json ./
COPY shared shared
COPY edge edge
COPY gpu-worker gpu-worker
USER node
EXPOSE 8788
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.GPU_WORKER_PORT}/readyz`).then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "gpu-worker/main.ts"]
