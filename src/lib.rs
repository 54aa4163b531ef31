//! clawjail: theory of operation.
//!
//! clawjail runs one command so that it can do its work and nothing else, and says afterwards what was asked, what was
//! enforced, what was denied and what it cost. Three promises, in this order: nothing gets out; nothing that should work
//! breaks; you are told the truth.
//!
//! # The four processes
//!
//! ```text
//!   supervisor   the caller's process: tokio, output, signals, terminal, verdict            never forks again
//!       |  one seqpacket socketpair, typed messages and descriptors
//!   launcher     forked before any thread: profile -> plan -> jail; ends what it started     trusts nobody
//!       |  clone3 into new namespaces; orders, then the command
//!   init         first process of the jail: builds the view, confines itself, starts runs    dies with the launcher
//!       |  fork: what init wears, everything after it wears
//!   command      tries to get out, and if nothing does, becomes the tool
//! ```
//!
//! The launcher exists before the supervisor has a thread, so forking it is safe and cheap. Init confines *itself*: runs
//! inherit namespaces, limits, Landlock and the filter, and nothing has to be put on again for each. Before it executes
//! anything the command's own process tries what must not work; what it reports is the verdict's `enforcement`, and if one
//! attempt gets through, nothing is run. Each process lives no longer than the one above it.
//!
//! # From a name to a running command
//!
//! ```text
//!   text --schema--> as typed --resolve--> Profile --compile(request, host)--> Plan --orders--> a jail
//! ```
//!
//! Left of the last arrow everything is pure: no system call, no clock, no environment. The plan is complete, sorted and
//! printable, so what a jail is made of can be read, compared and hashed before there is one.
//!
//! # Words, one meaning each
//!
//! * **profile**: what a caller names; a TOML file. **policy**: a named set that profiles include as `@name`.
//! * **document**: such a text with its origin. **authority**: who vouches for it, root or the caller; what root vouches
//!   for never includes what a caller wrote. **shelf**: a directory of documents; it wins over what is built in.
//! * **plan**: a profile resolved against one request and one host; all that the kernel side is told.
//! * **promise**: one guarantee a profile asks for. **mechanism**: what keeps it on this host. A promise without one is
//!   refused, unless the profile itself says that it may be partial.
//! * **tier**: where our power comes from: root, a user namespace, or neither (bare).
//! * **jail**: a confined environment with a lifetime. **run**: one command in it. **caller**: who asked, as the kernel says.
//! * **view**: what exists in a jail. **trees**: the parts of it that only the launcher can mount, because their owners
//!   are translated to the jail's uid.
//! * **shield**: a path or pattern that is hidden (cannot be read) or protected (can be read, never written), also while
//!   it does not exist. **stand-in**: a file where a directory above a shield would be (`.git` of a work tree); protected in
//!   its place. **naming**: how new names come about in a workspace with shields: directly, or brokered.
//!   **broker**: the part of init that makes a name for a command after judging it. **settings**: files of git that say what git
//!   runs; to **vet** is to let them change by what runs nothing. **repository**: what git would take for one, at any depth.
//! * **orders**: what init is told once. **tally**: what the streams of a run count together.
//! * **refused**: we said no before anything started. **denied**: the kernel, the broker or the gate said no to the command.
//!   **failed**: our own fault, with its step.
//! * **gate**: the process through which a jail's bytes leave, where its profile has egress; it resolves and connects for the jail,
//!   by **rules** about hosts. **contact**: one connection or lookup that it saw.
//! * **finding**: one thing that a rule (of a skill's folder) or a check (of OpenClaw's settings) found, with its **severity**.
//! * **outcome**: how a run ended. **verdict**: the record of it.
//! * **finding**: what lint says of a profile, by a rule with a name. **usage**: what runs took of what a profile grants. **example**: a command
//!   that a profile was learned from; to **prove** it is to have the command do the same under the profile.
//! * **ledger**: the append-only files of verdicts, each line chained to the one before. **head**: the number and hash of its
//!   newest line; one that was kept elsewhere is an **anchor**. **torn**: an end that is no whole line, as power cuts leave
//!   it. **room**: space on disk kept for the record of a run that is not over. **sink**: where else a verdict is told.
//!
//! # Module map
//!
//! Imports go down this ladder and never up; `tests/layering.rs` holds it.
//!
//! | module | owns | must not |
//! |---|---|---|
//! | [`host`] | what this host can do, as data | look anything up |
//! | [`policy`] | sets of paths, system calls, names; the library that finds them | know profiles |
//! | [`profile`] | schema, loading, `extends` and `@sets`, units | know the host |
//! | [`plan`] | the plan: view, shields, rights, filter programs, promises | touch the kernel |
//! | [`verdict`] | the record and its keys | find anything out |
//! | [`wire`] | messages between our processes | move bytes |
//! | [`sys`] | the only unsafe code, one call a function | decide anything |
//! | [`confine`] | one file a step: mounts, identity, limits, Landlock, seccomp ... | call the next step |
//! | [`jail`] | launcher, init, broker, probe, groups | know terminals of users, or tokio |
//! | [`egress`] | the gate: names, connections, what they say first | make a process, or open a file |
//! | [`supervise`] | output, signals, terminal, until the run is over | fork |
//! | [`ledger`] | verdicts on disk: writing, asking, verifying; journal, syslog, SIEM, metrics | say what a verdict means |
//! | [`openclaw`] | what OpenClaw asks before it installs something; what is unsafe in its settings | run anything |
//! | [`cli`] | one file a subcommand, lines and exit codes | enforce anything |
//!
//! Start reading at `jail::start::start` (from a request to a run, as a list) and `jail::init` (the order of confinement).

pub mod cli;
pub mod confine;
pub mod daemon;
pub mod egress;
pub mod host;
pub mod jail;
pub mod ledger;
pub mod openclaw;
pub mod plan;
pub mod policy;
pub mod profile;
pub mod supervise;
pub mod sys;
pub mod verdict;
pub mod wire;
