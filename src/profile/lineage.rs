//! From a name to its line of descent.
//!
//! Owns reading one profile text and following `extends`. Must not interpret what a profile grants.

use super::error::ProfileError;
use super::load::Sources;
use super::schema::ProfileFile;
use crate::policy::document::{Authority, Document, Flaw, Spot};
use crate::policy::names::{check, did_you_mean};

/// One profile text of a line of descent.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Its text.
    pub document: Document,
    /// The text, typed.
    pub file: ProfileFile,
}

impl Layer {
    /// An error about a flaw in this profile.
    pub fn error(&self, flaw: Flaw) -> ProfileError {
        read_error(&self.name, flaw)
    }

    /// An error about a spot of this profile.
    pub fn flaw(&self, spot: Spot<'_>, what: impl Into<String>) -> ProfileError {
        self.error(self.document.flaw(spot, what))
    }
}

/// An error about a flaw in profile `name`.
pub fn read_error(name: &str, flaw: Flaw) -> ProfileError {
    ProfileError::Read { name: name.to_owned(), flaw: Box::new(flaw) }
}

/// Reads one profile text, without its parents.
pub fn read(name: &str, document: &Document) -> Result<ProfileFile, ProfileError> {
    let file: ProfileFile = document.parse().map_err(|flaw| read_error(name, flaw))?;
    check_head(document, &file).map_err(|flaw| read_error(name, flaw))?;
    Ok(file)
}

/// Checks that a text says anything, and first of all what it is for.
pub fn check_head(document: &Document, file: &ProfileFile) -> Result<(), Flaw> {
    if document.is_blank() {
        let flaw = document.flaw(Spot::Start, "an empty profile grants nothing, which is surely a mistake");
        return Err(flaw.with_hint("begin with `summary = \"...\"`, and say what it extends or grants"));
    }
    match file.summary.as_deref().map(str::trim) {
        None => Err(document
            .flaw(Spot::Start, "missing key `summary`")
            .with_hint("say in one sentence for whom the profile is and what it may do")),
        Some("") => Err(document.flaw(Spot::Value(&["summary"]), "an empty `summary`")),
        Some(text) if text.chars().any(char::is_control) => {
            Err(document.flaw(Spot::Value(&["summary"]), "`summary` is more than one line"))
        }
        Some(_) => Ok(()),
    }
}

/// The line of descent of profile `name`, base first.
pub fn trace(name: &str, sources: &Sources) -> Result<Vec<Layer>, ProfileError> {
    let document = sources.profile(name, Authority::Caller)?;
    let file = read(name, &document)?;
    trace_from(Layer { name: name.to_owned(), document, file }, sources)
}

/// The line of descent that ends in `last`, base first.
pub fn trace_from(last: Layer, sources: &Sources) -> Result<Vec<Layer>, ProfileError> {
    let mut layers = vec![last];
    while let Some(parent) = parent_of(&layers, sources)? {
        layers.push(parent);
    }
    layers.reverse();
    Ok(layers)
}

/// The parent of the last of `layers`. What root vouches for never descends from what only the caller does.
fn parent_of(layers: &[Layer], sources: &Sources) -> Result<Option<Layer>, ProfileError> {
    let Some(child) = layers.last() else {
        return Ok(None);
    };
    let Some(name) = &child.file.extends else {
        return Ok(None);
    };
    let at = Spot::Value(&["extends"]);
    check(name).map_err(|error| child.flaw(at, error.to_string()))?;
    let document = sources.profile(name, child.document.authority).map_err(|error| match error {
        ProfileError::Unknown { name, suggestion } => {
            child.flaw(at, format!("unknown profile `{name}`{}", did_you_mean(suggestion.as_deref())))
        }
        other => other,
    })?;
    if let Some(start) = layers.iter().position(|layer| layer.document.source == document.source) {
        let circle = layers.iter().skip(start).map(|layer| layer.name.as_str()).chain([name.as_str()]);
        let circle = circle.collect::<Vec<_>>().join(" -> ");
        return Err(child.flaw(at, format!("`extends` goes in a circle: {circle}")));
    }
    let file = read(name, &document)?;
    Ok(Some(Layer { name: name.clone(), document, file }))
}
