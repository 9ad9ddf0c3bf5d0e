//! The trees of other Debian releases that `interop/setup.sh` makes.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

/// Where the tree of a release is.
pub(crate) fn tree(release: &str) -> Result<PathBuf> {
    let from = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = from("CYGNET_INTEROP_CACHE")
        .or_else(|| Some(from("XDG_CACHE_HOME")?.join("cygnet-interop")))
        .or_else(|| Some(from("HOME")?.join(".cache/cygnet-interop")))
        .context("no home directory")?;
    let tree = cache.join(release);
    ensure!(tree.join(".made").exists(), "no {}: run interop/setup.sh", tree.display());
    Ok(tree)
}
