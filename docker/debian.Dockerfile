# limitpde with Debian 13's own DOLFINx (0.9), petsc4py and Open MPI, where docker/Dockerfile takes a wheel of 0.11:
#
#   docker build -f docker/debian.Dockerfile -t limitpde-debian .
#   docker run --rm -u "$(id -u):$(id -g)" -v "$PWD/results:/home/limitpde/results" limitpde-debian signed_dipole
ARG BASE=debian:trixie-slim
FROM ${BASE}
# gcc, libc6-dev, python3-dev: DOLFINx compiles at run time
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev python3-dev python3-dolfinx python3-venv \
 && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/limitpde/bin:$PATH XDG_CACHE_HOME=/opt/cache NUMBA_CACHE_DIR=/opt/cache/numba \
    MPLCONFIGDIR=/opt/cache/matplotlib MPLBACKEND=Agg LIMITPDE_IMAGE="limitpde on Debian, Debian's DOLFINx"
COPY pyproject.toml README.md LICENSE /src/
COPY limitpde /src/limitpde
RUN python3 -m venv --system-site-packages /opt/limitpde && pip install --no-cache-dir /src
COPY docker/demo /usr/local/bin/demo
RUN useradd --create-home limitpde && install -d -o limitpde -m a+rwX /opt/cache /home/limitpde/results
USER limitpde
WORKDIR /home/limitpde
COPY --chown=limitpde demos demos
COPY --chown=limitpde meshes meshes
RUN for system in signed coagulation vlasov meanfield; do \
      limitpde new $system > case.toml && limitpde run case.toml --quick --quiet --out /tmp/warm || exit 1; \
    done \
 && rm -r case.toml /tmp/warm \
 && chmod -R a+rwX /opt/cache results && chmod a+rx .
ENTRYPOINT ["demo"]
CMD ["--list"]
