# Everyday commands; `just` lists them.

_list:
    @just --list

# One job from end to end on this computer.
demo:
    cargo run --bin bcrlapi-local -- demo

# The whole system on this computer, with data in .bcrlapi.
up *arguments:
    cargo run --bin bcrlapi-local -- up {{arguments}}

# The tests of the README.
test *arguments:
    cargo test --workspace {{arguments}}

# Formatting and lints, fixed where possible.
fix:
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
    cargo fmt --all

# Everything that must pass.
ci:
    .ci/run
