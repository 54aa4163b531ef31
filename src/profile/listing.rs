//! The profiles that can be asked for.

use super::error::ProfileError;
use super::lineage;
use super::load::Sources;
use crate::policy::document::Authority;

/// A profile that can be asked for.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its summary, or why it cannot be read.
    pub summary: Result<String, ProfileError>,
    /// Where it is: `built-in:untrusted`, or a path. Of one that cannot be opened, the name alone.
    pub source: String,
}

/// Every profile that can be asked for, sorted by name.
pub fn list(sources: &Sources) -> Vec<Listed> {
    let names = sources.profile_names(Authority::Caller);
    names.into_iter().map(|name| list_one(name, sources)).collect()
}

fn list_one(name: String, sources: &Sources) -> Listed {
    match sources.profile(&name, Authority::Caller) {
        Ok(document) => {
            let summary = lineage::read(&name, &document).map(|file| file.summary.unwrap_or_default());
            Listed { name, summary, source: document.source }
        }
        Err(error) => Listed { source: name.clone(), name, summary: Err(error) },
    }
}
