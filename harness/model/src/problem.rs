//! Something that does not work here, in its parts: whoever shows it decides how, and nobody takes a sentence apart.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that does not work here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// What was tried, or what is not there.
    pub what: String,
    /// Why, where more is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What the user can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The service that is missing, as `UPLIFT_REQUIRE` names it: "postgres", "docker", "redis".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

impl Problem {
    /// A problem of which nothing more is known.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), why: None, remedy: None, missing: None }
    }

    /// With its reason.
    #[must_use]
    pub fn because(self, why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), ..self }
    }

    /// With what can be done; a second fix is another way.
    #[must_use]
    pub fn fix(mut self, remedy: impl AsRef<str>) -> Self {
        let remedy = remedy.as_ref();
        self.remedy = Some(self.remedy.map_or_else(|| remedy.to_owned(), |first| format!("{first}; {remedy}")));
        self
    }

    /// With the service that is missing.
    #[must_use]
    pub fn missing(self, service: impl AsRef<str>) -> Self {
        Self { missing: Some(service_word(service.as_ref())), ..self }
    }

    /// What does not work and why, without the fix.
    pub fn state(&self) -> String {
        self.why.as_ref().map_or_else(|| self.what.clone(), |why| format!("{}: {why}", self.what))
    }

    /// Whether the missing service is one of the words of a list as `UPLIFT_REQUIRE` has it.
    pub fn is_of(&self, required: &str) -> bool {
        self.missing.as_ref().is_some_and(|missing| required.split(',').any(|word| service_word(word) == *missing))
    }

    /// Every text, for who must take passwords out.
    pub(crate) fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        [Some(&mut self.what), self.why.as_mut(), self.remedy.as_mut()].into_iter().flatten()
    }
}

/// One word for one service: people write PostgreSQL in two ways.
fn service_word(text: &str) -> String {
    let word = text.trim().to_lowercase();
    if word == "postgresql" { "postgres".to_owned() } else { word }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.state())?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_sentence_and_stays_in_parts() {
        let problem = Problem::new("reaching PostgreSQL").because("no server; none was found").fix("install it");
        assert_eq!(problem.to_string(), "reaching PostgreSQL: no server; none was found; install it");
        assert_eq!(problem.state(), "reaching PostgreSQL: no server; none was found");
        let json = serde_json::to_string(&problem).unwrap();
        assert_eq!(serde_json::from_str::<Problem>(&json).unwrap(), problem);
        assert_eq!(Problem::new("x").to_string(), "x");
    }

    /// Only what is missing counts, never a word of the sentence.
    #[test]
    fn a_list_of_services_is_held_against_the_service_that_is_missing() {
        let missing = |service: &str| Problem::new("no server on this machine").missing(service);
        assert!(missing("PostgreSQL").is_of("browser, Postgres"));
        assert!(missing("docker").is_of("docker"));
        assert!(!missing("docker").is_of(""));
        assert!(!missing("redis").is_of("postgres"));
        assert!(!Problem::new("no docker, no postgres").fix("install docker").is_of("docker,postgres"));
    }
}
