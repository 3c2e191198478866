//! How much memory the process takes and the machine has, as far as the system tells.

/// Bytes that can still be given out; none where the system does not say.
pub fn available() -> Option<u64> {
    let free = field("/proc/meminfo", "MemAvailable:")?;
    // A container may be held to less than the machine has.
    let limit: Option<u64> = read_number("/sys/fs/cgroup/memory.max");
    let used: Option<u64> = read_number("/sys/fs/cgroup/memory.current");
    Some(match (limit, used) {
        (Some(limit), Some(used)) => free.min(limit.saturating_sub(used)),
        _ => free,
    })
}

/// Bytes that the process holds now.
pub fn held() -> Option<u64> {
    field("/proc/self/status", "VmRSS:")
}

/// Begins a new measurement of the peak: [`peak`] then tells the worst moment since.
pub fn reset_peak() {
    // Refused in some containers; then the peak is that of the whole process.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

pub fn peak() -> Option<u64> {
    field("/proc/self/status", "VmHWM:")
}

/// A line `Name:   123 kB` of a file of the system, in bytes.
fn field(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    let number: u64 = line[name.len()..].split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

fn read_number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_large_vector_is_seen() {
        reset_peak();
        let before = held().unwrap();
        let large = vec![1u8; 64 << 20];
        assert!(large.iter().map(|byte| *byte as u64).sum::<u64>() > 0);
        drop(large);
        assert!(peak().unwrap() >= before);
        assert!(available().unwrap() > 0);
    }
}
