//! Runs that have begun and have no record yet, in a file beside the ledger's own.
//!
//! A writer that is killed leaves them there, and the next one records that they were cut short. No part of the chain: what
//! it says is checked by nobody, and a power cut may take its end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::error::LedgerError;
use super::files::Directory;
use crate::wire::record::Beginning;

/// Emptied at the next opportunity when it is so long.
const LONG: u64 = 256 << 10;
/// Nothing of ours is longer.
const LONGEST: u64 = 64 << 20;

/// The file, and what it says.
#[derive(Debug)]
pub struct UnderWay {
    file: File,
    size: u64,
    runs: BTreeMap<String, Beginning>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Begun(Beginning),
    Ended(String),
}

impl UnderWay {
    /// Opens it, and gives what an earlier writer left in it.
    pub fn open(directory: &Directory) -> Result<(UnderWay, Vec<Beginning>), LedgerError> {
        let (file, path) = directory.open_under_way()?;
        let mut text = Vec::new();
        let read = (&file).take(LONGEST).read_to_end(&mut text);
        read.map_err(LedgerError::system("read", path))?;
        let mut left = BTreeMap::new();
        // The last line may be half of one.
        for line in text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()) {
            match line {
                Line::Begun(beginning) => drop(left.insert(beginning.id.clone(), beginning)),
                Line::Ended(id) => drop(left.remove(&id)),
            }
        }
        let under_way = UnderWay { file, size: text.len() as u64, runs: BTreeMap::new() };
        Ok((under_way, left.into_values().collect()))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.runs.len()
    }

    /// One more. On a full disk only this process knows of it.
    pub fn begin(&mut self, beginning: Beginning) {
        let id = beginning.id.clone();
        let line = Line::Begun(beginning);
        let _ = self.write(&line);
        if let Line::Begun(beginning) = line {
            self.runs.insert(id, beginning);
        }
    }

    /// It has its record.
    pub fn end(&mut self, id: &str) {
        if self.runs.remove(id).is_none() {
            return;
        }
        let _ = match self.runs.is_empty() && self.size > LONG {
            true => self.clear(),
            false => self.write(&Line::Ended(id.to_owned())),
        };
    }

    /// Those that have none.
    pub fn take(&mut self) -> Vec<Beginning> {
        std::mem::take(&mut self.runs).into_values().collect()
    }

    /// All that it says is done with.
    pub fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.size = 0;
        Ok(())
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)?;
        self.size += text.len() as u64;
        Ok(())
    }
}
