# The image of the operator and its command line: a virtual environment on a slim Python, without pip and without root.

FROM python:3.13-slim AS build
WORKDIR /source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv --without-pip /opt/computegrid
# Dependencies are a layer of their own, made anew only when they change. requirements.txt pins tools of the developers
# as well; as a constraint it gives versions and hashes to what the package needs, and installs nothing else. That takes
# a newer pip than the base image may have.
COPY pyproject.toml requirements.txt ./
RUN sed -n '/^pip==/,/[^\\]$/p' requirements.txt > pip.in \
    && pip install --no-cache-dir --require-hashes --only-binary :all: --requirement pip.in
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
      > runtime.in \
    && python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['build-system']['requires'], sep='\n')" \
      > build.in \
    && pip --python /opt/computegrid/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
      --constraint requirements.txt --requirement runtime.in \
    && pip install --no-cache-dir --require-hashes --only-binary :all: \
      --constraint requirements.txt --requirement build.in
COPY README.md LICENSE ./
COPY operator operator
COPY manifests/member manifests/member
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/computegrid/bin/python install --no-cache-dir --no-deps --no-index dist/*.whl

FROM python:3.13-slim
LABEL org.opencontainers.image.title="computegrid" \
      org.opencontainers.image.description="A Kubernetes operator that turns many accelerator clusters into one grid of compute" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/computegrid/computegrid"
# Nothing can be installed into a running operator.
RUN python -m pip uninstall --yes pip && rm -r /usr/local/lib/python3.13/ensurepip
COPY --from=build /opt/computegrid /opt/computegrid
ENV PATH=/opt/computegrid/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["computegrid"]
CMD ["operator"]
