//! Several processes' metrics as one Prometheus exposition: each family once, each sample with its process as a label.

use std::collections::BTreeMap;

#[derive(Default)]
struct Family {
    head: Vec<String>,
    samples: Vec<String>,
}

/// Merges the expositions of named processes.
pub(crate) fn merge(texts: &[(&str, String)]) -> String {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for (process, text) in texts {
        let mut current = String::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("# ") {
                current = comment.split_whitespace().nth(1).unwrap_or_default().to_owned();
                let head = &mut families.entry(current.clone()).or_default().head;
                if !head.iter().any(|known| known == line) {
                    head.push(line.to_owned());
                }
            } else {
                families
                    .entry(current.clone())
                    .or_default()
                    .samples
                    .push(labelled(line, process));
            }
        }
    }
    let mut merged = String::new();
    for line in families
        .values()
        .flat_map(|family| family.head.iter().chain(&family.samples))
    {
        merged.push_str(line);
        merged.push('\n');
    }
    merged
}

fn labelled(sample: &str, process: &str) -> String {
    let end_of_name = sample.find(['{', ' ']).unwrap_or(sample.len());
    let (name, rest) = sample.split_at(end_of_name);
    match rest.strip_prefix('{') {
        Some(labels) => format!("{name}{{process=\"{process}\",{labels}"),
        None => format!("{name}{{process=\"{process}\"}}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_of_two_processes_appears_once() {
        let one = "# HELP a What.\n# TYPE a counter\na 1\na{x=\"y z\"} 2\n\n# TYPE b gauge\nb 3\n".to_owned();
        let other = "# HELP a What.\n# TYPE a counter\na 4\n".to_owned();
        let expected = "# HELP a What.\n# TYPE a counter\na{process=\"p\"} 1\na{process=\"p\",x=\"y z\"} 2\n\
            a{process=\"q\"} 4\n# TYPE b gauge\nb{process=\"p\"} 3\n";
        assert_eq!(merge(&[("p", one), ("q", other)]), expected);
    }
}
