//! Profiles that are kept until somebody asks for one, as few bytes.
//!
//! A service's launcher keeps all that there are, and every process of a jail begins as a copy of its pages: unpacked they would be
//! most of these.

use std::borrow::Cow;

use super::Profile;

/// One profile, packed.
#[derive(Clone, Debug)]
pub struct Packed {
    bytes: Cow<'static, [u8]>,
}

impl Packed {
    /// Packs a profile.
    pub fn of(profile: &Profile) -> Option<Packed> {
        postcard::to_stdvec(profile).ok().map(|bytes| Packed { bytes: Cow::Owned(bytes) })
    }

    /// One that this program was built with, if these bytes are one.
    pub fn built_in(bytes: &'static [u8]) -> Option<Packed> {
        let packed = Packed { bytes: Cow::Borrowed(bytes) };
        packed.open().is_some().then_some(packed)
    }

    /// The profile. There is always one: nothing else was packed.
    pub fn open(&self) -> Option<Profile> {
        postcard::from_bytes(&self.bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::load::Sources;
    use crate::profile::resolve::resolve;

    #[test]
    fn a_profile_comes_out_of_its_package_as_it_went_in() {
        let sources = Sources { dirs: Vec::new(), home: None, built_in_stands: true };
        let profile = resolve("untrusted", &sources, &sources.library()).expect("it is built in");
        let packed = Packed::of(&profile).expect("it can be packed");
        assert_eq!(packed.open().as_ref(), Some(&profile));
        assert!(Packed::built_in(&[0xff; 3]).is_none(), "what is no profile is none");
    }
}
