use std::env;

/// A number of the environment, or this one.
pub fn setting(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
        Err(_) => default,
    }
}

/// The seed of a random test: a new one, unless `BCRLAPI_TEST_SEED` repeats an old one. Is printed.
pub fn seed() -> u64 {
    let seed = setting("BCRLAPI_TEST_SEED", fastrand::u64(..));
    eprintln!("BCRLAPI_TEST_SEED={seed}");
    seed
}
