//! What a jail uses at this moment, for whoever looks: from its groups where they count it, else from its processes.

use nix::unistd::{Pid, SysconfVar, getpid, sysconf};

use super::cgroup::Group;
use super::descendants;
use crate::wire::privsep::Usage;

/// Of the jail with `group`, whose processes descend from this one.
pub fn of(group: &Group) -> Usage {
    let mut processes = Vec::new();
    descendants::collect(getpid(), &mut processes);
    let each: Vec<(u64, u64)> = processes.iter().filter_map(|pid| of_process(*pid)).collect();
    let number = |controller, names: [&str; 2]| {
        names.iter().find_map(|name| group.file(controller, name)?.trim().parse::<u64>().ok())
    };
    let counted = group.file("cpu", "cpu.stat");
    let processor = counted.and_then(|text| super::cgroup::keyed(&text, "usage_usec"));
    Usage {
        memory: number("memory", ["memory.current", "memory.usage_in_bytes"])
            .unwrap_or_else(|| each.iter().map(|(memory, _)| memory).sum()),
        processes: number("pids", ["pids.current", "pids.current"]).unwrap_or(processes.len() as u64),
        processor_us: processor.unwrap_or_else(|| each.iter().map(|(_, processor)| processor).sum()),
    }
}

/// Bytes of a process's own, and microseconds of processor time of it and of those that it waited for. What it has of files
/// is left out: a jail's processes share it with each other, and with others. proc_pid_stat(5), proc_pid_statm(5).
fn of_process(pid: Pid) -> Option<(u64, u64)> {
    let read = |file| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let unit = |variable, default| {
        sysconf(variable).ok().flatten().and_then(|unit| u64::try_from(unit).ok()).unwrap_or(default)
    };
    let (page, tick) = (unit(SysconfVar::PAGE_SIZE, 4096), unit(SysconfVar::CLK_TCK, 100).max(1));
    let (pages, ticks) = (own_pages(&read("statm")?)?, ticks(&read("stat")?)?);
    Some((pages.saturating_mul(page), ticks.saturating_mul(1_000_000) / tick))
}

fn own_pages(statm: &str) -> Option<u64> {
    let mut fields = statm.split_ascii_whitespace().skip(1).map_while(|field| field.parse::<u64>().ok());
    let (resident, shared) = (fields.next()?, fields.next()?);
    Some(resident.saturating_sub(shared))
}

fn ticks(stat: &str) -> Option<u64> {
    // Behind the name, which may hold anything: the state is field 3.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(field(14)?.saturating_add((15..=17).filter_map(field).sum()))
}

#[cfg(test)]
mod tests {
    use super::{own_pages, ticks};

    #[test]
    fn fields_are_counted_behind_a_name_that_may_hold_anything() {
        let rest = "S 1 1 1 0 -1 4194560 2 3 0 0 7 5 2 1 20 0 1 0 100 4096 33 18446744073709551615 0";
        assert_eq!(ticks(&format!("12 (a) b) {rest}\n")), Some(15));
        assert_eq!((ticks(""), ticks("12 (a) S 1")), (None, None));
        assert_eq!((own_pages("900 33 30 1 0 5 0\n"), own_pages("900 33"), own_pages("")), (Some(3), None, None));
    }
}
