//! What `interop/setup.sh` makes: trees of Debian packages, and what a guest needs.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

/// Where the tree of this name is.
pub(crate) fn tree(name: &str) -> Result<PathBuf> {
    let tree = cache()?.join(name);
    ensure!(tree.join(".made").exists(), "no {}: run interop/setup.sh", tree.display());
    Ok(tree)
}

/// Where the library is that a guest's kernel is run with.
pub(crate) fn xstate() -> Result<PathBuf> {
    let library = cache()?.join("xstate.so");
    ensure!(library.exists(), "no {}: run interop/setup.sh", library.display());
    Ok(library)
}

fn cache() -> Result<PathBuf> {
    let from = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    from("CYGNET_INTEROP_CACHE")
        .or_else(|| Some(from("XDG_CACHE_HOME")?.join("cygnet-interop")))
        .or_else(|| Some(from("HOME")?.join(".cache/cygnet-interop")))
        .context("no home directory")
}
