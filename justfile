# The commands of this repository; `just` lists them.

default:
    @just --list

# Compare baseline and optimized, everywhere.
compare *args:
    cargo run -- compare baseline optimized {{args}}

# What CI runs.
ci:
    bash .ci/run

test:
    cargo test --workspace

lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Sizes, dependencies, licenses, crate graph, import circles, documents, words.
check *names:
    cargo run -p xtask -- check {{names}}

# The documents as a book in target/book; needs mdBook.
book:
    mdbook build docs

# The pictures of the documents, drawn again from reference runs; needs Chromium.
screenshots:
    docs/screenshots.sh

# Every variant of every scenario once.
verify *args:
    cargo run -- verify {{args}}

# What the harness itself costs.
bench:
    cargo bench -p uplift-agent

# The tables of docs/METHODOLOGY.md.
replay:
    cargo run -p uplift-analysis --example replay

# The reference runs of results/reference and docs/REPLICATION.md; wants a quiet machine and a quarter of an hour.
reference *targets:
    results/reproduce.sh {{targets}}

# The gate against itself over every scenario: false alarms with their interval.
aa rounds="4" *args:
    results/aa.sh {{rounds}} {{args}}

# The image of the Dockerfile, on base images made from Debian's packages.
image:
    docker/base-images
    DOCKER_BUILDKIT=0 docker build --build-arg BUILD_IMAGE=uplift-rust:bookworm --build-arg RUN_IMAGE=uplift-debian:bookworm --tag uplift .
