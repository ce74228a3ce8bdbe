//! Templates: which part of a dotted path is the measurement, which a tag, which the field.
//!
//!     servers.* .host.measurement*  region=eu
//!     filter    template            tags
//!
//! The most specific filter that fits decides; a template without a filter is the default. A part of a template names what
//! the part of the path at its place is: nothing (empty), `measurement`, `field`, or the key of a tag; with a star at the
//! end, the rest of the path.

use std::collections::BTreeMap;

/// What one line of `templates` says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Template {
    /// Empty: the default.
    filter: Vec<String>,
    parts: Vec<String>,
    tags: BTreeMap<String, String>,
}

/// All templates of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates {
    templates: Vec<Template>,
    separator: String,
    tags: BTreeMap<String, String>,
}

/// What a path says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub measurement: String,
    pub field: String,
    pub tags: BTreeMap<String, String>,
}

fn tags_of(text: &str) -> Option<BTreeMap<String, String>> {
    let pairs = text.split(',').map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (!key.is_empty() && !value.is_empty() && !value.contains('='))
            .then(|| (key.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

impl Templates {
    /// Reads `templates`, `tags` and `separator`; the error is a sentence.
    pub fn new(templates: &[String], tags: &[String], separator: &str) -> Result<Self, String> {
        let mut all: Vec<Template> = Vec::new();
        for (position, text) in templates.iter().enumerate() {
            let template = Template::parse(text)?;
            if all.iter().any(|known| known.filter == template.filter) {
                let filter = template.filter.join(".");
                return Err(format!("duplicate filter '{filter}' found at position: {position}"));
            }
            all.push(template);
        }
        // The longest and most exact filters first.
        let exact = |template: &Template| template.filter.iter().filter(|part| *part != "*").count();
        all.sort_by_key(|template| std::cmp::Reverse((template.filter.len(), exact(template))));
        let mut own = BTreeMap::new();
        for tag in tags {
            own.extend(tags_of(tag).ok_or_else(|| format!("invalid tag format: '{tag}'"))?);
        }
        Ok(Self { templates: all, separator: separator.to_owned(), tags: own })
    }

    /// Takes a path apart.
    pub fn apply(&self, path: &str) -> Named {
        let parts: Vec<&str> = path.split('.').collect();
        let mut named = Named { measurement: String::new(), field: String::new(), tags: self.tags.clone() };
        match self.templates.iter().find(|template| template.fits(&parts)) {
            Some(template) => template.apply(&parts, &self.separator, &mut named),
            None => named.measurement = path.to_owned(),
        }
        if named.measurement.is_empty() {
            named.measurement = path.to_owned();
        }
        if named.field.is_empty() {
            "value".clone_into(&mut named.field);
        }
        named
    }
}

impl Template {
    fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (filter, template, tags) = match words[..] {
            [template] => ("", template, ""),
            [template, tags] if tags.contains('=') => ("", template, tags),
            [filter, template] => (filter, template, ""),
            [filter, template, tags] => (filter, template, tags),
            _ => return Err(format!("invalid template format: '{text}'")),
        };
        let filter: Vec<String> = match filter {
            "" => Vec::new(),
            filter => filter.split('.').map(str::to_owned).collect(),
        };
        if filter.iter().any(String::is_empty) {
            return Err(format!("filter contains blank section: {text}"));
        }
        if filter.iter().any(|part| part.contains('*') && part != "*") {
            return Err(format!("invalid filter wildcard section: {text}"));
        }
        let parts: Vec<String> = template.split('.').map(str::to_owned).collect();
        let has = |name: &str| parts.iter().filter(|part| *part == name).count();
        if has("measurement") == 0 && has("measurement*") == 0 {
            return Err(format!("no measurement in template: '{text}'"));
        }
        if has("field") + has("field*") > 1 {
            return Err(format!("'field' can only be used once in each template: '{text}'"));
        }
        if has("field*") > 0 && has("measurement*") > 0 {
            return Err(format!(
                "either 'field*' or 'measurement*' can be used in each template (but not both): '{text}'"
            ));
        }
        let tags = match tags {
            "" => BTreeMap::new(),
            tags => tags_of(tags).ok_or_else(|| format!("invalid template tags: '{text}'"))?,
        };
        Ok(Self { filter, parts, tags })
    }

    /// A star fits one part, the last one the rest.
    fn fits(&self, path: &[&str]) -> bool {
        let Some(last) = self.filter.last() else { return true };
        let is_long_enough = path.len() >= self.filter.len();
        is_long_enough
            && (last == "*" || path.len() == self.filter.len())
            && self.filter.iter().zip(path).all(|(want, part)| want == "*" || want == part)
    }

    fn apply(&self, path: &[&str], separator: &str, named: &mut Named) {
        named.tags.extend(self.tags.clone());
        let mut measurement: Vec<&str> = Vec::new();
        let mut field: Vec<&str> = Vec::new();
        let mut tags: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (at, part) in path.iter().enumerate() {
            match self.parts.get(at).map(String::as_str) {
                None => break,
                Some("") => {}
                Some("measurement") => measurement.push(part),
                Some("field") => field.push(part),
                Some("measurement*") => {
                    measurement.extend(&path[at..]);
                    break;
                }
                Some("field*") => {
                    field.extend(&path[at..]);
                    break;
                }
                Some(key) => tags.entry(key).or_default().push(part),
            }
        }
        named.measurement = measurement.join(separator);
        named.field = field.join(separator);
        named.tags.extend(tags.into_iter().map(|(key, values)| (key.to_owned(), values.join(separator))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates(lines: &[&str]) -> Result<Templates, String> {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        Templates::new(&lines, &["dc=x".to_owned()], "_")
    }

    /// measurement, field, tags.
    fn check(lines: &[&str], path: &str, want: &str) {
        let named = templates(lines).expect("good templates").apply(path);
        let tags: Vec<String> = named.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(format!("{} {} {}", named.measurement, named.field, tags.join(",")), want, "{path}");
    }

    #[test]
    fn parts_of_a_path_become_measurement_field_and_tags() {
        check(&[], "servers.a.cpu", "servers.a.cpu value dc=x");
        check(&["measurement.host.measurement"], "cpu.a.load", "cpu_load value dc=x,host=a");
        check(&[".host.measurement*"], "servers.a.cpu.load.short", "cpu_load_short value dc=x,host=a");
        check(&["measurement.host.field*"], "cpu.a.load.short", "cpu load_short dc=x,host=a");
        check(&["region.region.measurement.field"], "eu.west.cpu.idle", "cpu idle dc=x,region=eu_west");
        check(&["measurement dc=y,b=c"], "cpu.more", "cpu value b=c,dc=y");
    }

    #[test]
    fn the_most_specific_filter_decides() {
        let lines = ["measurement*", "servers.* .host.measurement*", "servers.db.* .role.measurement*"];
        check(&lines, "other.cpu", "other_cpu value dc=x");
        check(&lines, "servers.a.cpu", "cpu value dc=x,host=a");
        check(&lines, "servers.db.cpu", "cpu value dc=x,role=db");
    }

    #[test]
    fn bad_templates_are_refused() {
        for line in [
            "host.field",
            "a..b measurement",
            "a* measurement",
            "measurement a=",
            "measurement*.field*",
            "a b c d",
        ] {
            assert!(templates(&[line]).is_err(), "{line}");
        }
        assert_eq!(
            templates(&["a.* measurement", "a.* measurement*"]).expect_err("twice"),
            "duplicate filter 'a.*' found at position: 1"
        );
    }
}
