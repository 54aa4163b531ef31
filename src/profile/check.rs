//! What is wrong with a draft.
//!
//! Owns finding as many errors of one file as can be told apart, for `clawjail profile check`. Must not be used to run
//! anything: a draft may lie anywhere and belong to anybody.

use std::path::Path;

use toml::de::{DeTable, DeValue, Deserializer};

use super::error::ProfileError;
use super::expand::{Sets, expand};
use super::lineage::{Layer, check_head, read_error, trace_from};
use super::load::{Sources, read_draft};
use super::requests;
use super::resolve;
use super::schema::ProfileFile;
use crate::policy::document::Document;
use crate::policy::flaw;
use crate::policy::library::Library;
use crate::policy::names;

/// All errors that can be found in the file at `path`, and in what it extends and includes; none when it can be used.
pub fn check(path: &Path, sources: &Sources, library: &Library) -> Vec<ProfileError> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if let Err(error) = names::check(&name) {
        return vec![ProfileError::Name(error)];
    }
    let document = match read_draft(path) {
        Ok(document) => document,
        Err(error) => return vec![ProfileError::Open { name, error }],
    };
    let (file, mut errors) = read_all(&name, &document);
    let layer = Layer { name, document, file };
    if errors.is_empty() {
        errors.extend(check_head(&layer.document, &layer.file).err().map(|flaw| layer.error(flaw)));
    }
    errors.extend(expand(&layer, library, &mut Sets::default()).1);
    errors.extend(check_descent(layer, sources, library));
    errors
}

/// The first error of the parents, and of the system calls, which depend on them.
fn check_descent(layer: Layer, sources: &Sources, library: &Library) -> Option<ProfileError> {
    let layers = match trace_from(layer, sources) {
        Ok(layers) => layers,
        Err(error) => return Some(error),
    };
    let (_, parents) = layers.split_last()?;
    let mut sets = Sets::default();
    let of_parents = parents.iter().find_map(|parent| expand(parent, library, &mut sets).1.into_iter().next());
    of_parents.or_else(|| requests::unknown_secret(&layers)).or_else(|| resolve::syscalls(&layers, library).err())
}

/// Reads a text and collects its errors: the entry that an error is about is left out, and the rest read again.
fn read_all(name: &str, document: &Document) -> (ProfileFile, Vec<ProfileError>) {
    let (root, syntax) = DeTable::parse_recoverable(&document.text);
    let mut errors: Vec<ProfileError> =
        syntax.iter().map(|error| read_error(name, flaw::explain(document, error))).collect();
    let mut left = root;
    loop {
        let error = match <ProfileFile as serde::Deserialize>::deserialize(Deserializer::from(left.clone())) {
            Ok(file) => return (file, errors),
            Err(error) => error,
        };
        let offset = error.span().map_or(0, |span| span.start);
        let path = flaw::entry_at(document, offset);
        errors.push(read_error(name, flaw::explain(document, &error)));
        // Each turn leaves one entry out, so the loop ends; where none can be found, nothing more can be told.
        if !leave_out(left.get_mut(), &path) {
            return (ProfileFile::default(), errors);
        }
    }
}

fn leave_out(table: &mut DeTable<'_>, path: &[String]) -> bool {
    match path {
        [] => false,
        [key] => table.remove(key.as_str()).is_some(),
        [key, rest @ ..] => match table.get_mut(key.as_str()).map(|value| value.get_mut()) {
            Some(DeValue::Table(inner)) => leave_out(inner, rest),
            _ => false,
        },
    }
}
