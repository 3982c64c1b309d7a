# ParaView 5.13 without a display, for pictures of results by demos/paraview/show.py:
#
#   docker build -f docker/paraview.Dockerfile -t limitpde-paraview .
#   docker run --rm -v "$PWD/results:/results" limitpde-paraview /results/signed_dipole      -> pictures/paraview_*.png
ARG BASE=debian:trixie-slim
FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends paraview python3-paraview xauth xvfb \
 && rm -rf /var/lib/apt/lists/*
COPY demos/paraview/show.py /usr/local/share/limitpde/show.py
COPY docker/draw /usr/local/bin/draw
ENTRYPOINT ["draw"]
