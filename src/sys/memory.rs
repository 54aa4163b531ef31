//! Memory of our own. malloc_trim(3).

/// Gives back what was freed and is kept for later: every page that a process has is copied in the tables of its forks, and
/// taken down again when one of these executes something.
pub fn give_back_freed() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer; what is allocated stays where it is.
    unsafe {
        libc::malloc_trim(0);
    }
}
