//! The trees of Debian packages that `interop/setup.sh` makes.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

/// Where the tree of this name is.
pub(crate) fn tree(name: &str) -> Result<PathBuf> {
    let from = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let cache = from("CYGNET_INTEROP_CACHE")
        .or_else(|| Some(from("XDG_CACHE_HOME")?.join("cygnet-interop")))
        .or_else(|| Some(from("HOME")?.join(".cache/cygnet-interop")))
        .context("no home directory")?;
    let tree = cache.join(name);
    ensure!(tree.join(".made").exists(), "no {}: run interop/setup.sh", tree.display());
    Ok(tree)
}
