//! Memory of our own. malloc_trim(3), madvise(2).

/// Gives back what was freed and is kept for later: every page that a process has is copied in the tables of its forks, and
/// taken down again when one of these executes something.
pub fn give_back_freed() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer; what is allocated stays where it is.
    unsafe {
        libc::malloc_trim(0);
    }
}

// Where the linker put the first byte of the program, and the end of its code. ld(1).
unsafe extern "C" {
    static __executable_start: u8;
    static etext: u8;
}

/// Unmaps what was read of our own program so far: what is needed again comes back from the page cache, and an `execve` has less to
/// take down. madvise(2), `MADV_DONTNEED`.
pub fn let_go_of_program() {
    const PAGE: usize = 64 << 10;
    let (begin, end) = (&raw const __executable_start as usize, &raw const etext as usize);
    // Whole pages, whatever size they have on this machine.
    let (begin, end) = (begin.next_multiple_of(PAGE), end / PAGE * PAGE);
    if begin < end {
        // SAFETY: between these two the linker puts only what is mapped from the program's file and never written, so whatever is
        // read there afterwards is what was read there before. Nothing follows from a failure.
        unsafe { libc::madvise(begin as *mut libc::c_void, end - begin, libc::MADV_DONTNEED) };
    }
}
