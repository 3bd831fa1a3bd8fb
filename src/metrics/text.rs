//! Prometheus' text format: metrics of the process, and conversion to version 0.0.4.

use crate::platform;

/// Formats the standard process metrics that the system reports.
pub(super) fn process() -> Option<String> {
    let usage = platform::usage()?;
    let (open, most) = usage.descriptors;
    let families = [
        (
            "cpu_seconds_total",
            "counter",
            "CPU time, user and system",
            usage.cpu,
        ),
        (
            "start_time_seconds",
            "gauge",
            "When the process started, in seconds since 1970",
            usage.started,
        ),
        (
            "resident_memory_bytes",
            "gauge",
            "Resident memory",
            usage.resident,
        ),
        (
            "virtual_memory_bytes",
            "gauge",
            "Virtual memory",
            usage.virtual_memory,
        ),
        ("open_fds", "gauge", "Open file descriptors", open),
        ("max_fds", "gauge", "Most open file descriptors", most),
    ];
    let family = |(name, kind, help, value): (&str, &str, &str, f64)| {
        let name = format!("process_{name}");
        format!("# HELP {name} {help}.\n# TYPE {name} {kind}\n{name} {value}\n")
    };
    Some(families.into_iter().map(family).collect())
}

/// Converts OpenMetrics' text, in which a counter's family has no `_total`.
pub(super) fn classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help: Option<(&str, &str)> = None;
    for line in open.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
            continue;
        }
        match line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            Some((name, kind)) => {
                let total = if kind == "counter" { "_total" } else { "" };
                if let Some((_, help)) = help.take() {
                    text.push_str(&format!("# HELP {name}{total} {help}\n"));
                }
                text.push_str(&format!("# TYPE {name}{total} {kind}\n"));
            }
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}
