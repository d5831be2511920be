# One image for api, worker and migrate: the command says which. It holds what these need and no more: none of the embedded servers that
# `./laurel up` starts, no tests, no installer. A minor tag, so that a build takes Python's security fixes; the packages are pinned by hash.
FROM python:3.11-slim AS build
WORKDIR /laurel
COPY requirements.txt .
RUN python -m venv --without-pip /venv \
    && python -m pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
        --only-binary :all: -r requirements.txt

FROM python:3.11-slim
RUN useradd --system --uid 10001 laurel
COPY --from=build /venv /venv
WORKDIR /laurel
COPY . .
USER laurel
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 LAUREL_API_HOST=0.0.0.0 LAUREL_LOG_FORMAT=json
EXPOSE 8080
ENTRYPOINT ["python", "-m", "cli"]
CMD ["api"]
