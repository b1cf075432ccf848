//! Pure: `${NAME}` in a string becomes the value of a variable; `$${` stands for `${` itself.
//! What a variable holds is never looked at again: a `${` in it stays.

/// What is wrong with one `${`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no such variable.
    Unset(String),
    /// No `}` follows.
    Unclosed,
    /// What stands between the braces is no name.
    NoName(String),
}

/// The text with every variable in its place, or what is wrong with which `${`: they are counted
/// from 0, escaped ones included, because the place in the decoded text is not the place in the file.
pub(super) fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, Vec<(usize, Fault)>> {
    let mut out = String::with_capacity(text.len());
    let mut faults = Vec::new();
    let mut rest = text;
    let mut count = 0;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        rest = after;
        if out.ends_with('$') && before.ends_with('$') {
            out.push('{');
        } else {
            match one(after, variable) {
                Ok((value, after)) => {
                    out.push_str(&value);
                    rest = after;
                }
                Err(fault) => faults.push((count, fault)),
            }
        }
        count += 1;
    }
    out.push_str(rest);
    if faults.is_empty() { Ok(out) } else { Err(faults) }
}

fn one<'t>(after: &'t str, variable: &dyn Fn(&str) -> Option<String>) -> Result<(String, &'t str), Fault> {
    let (name, rest) = after.split_once('}').ok_or(Fault::Unclosed)?;
    let legal = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !legal || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Fault::NoName(name.to_owned()));
    }
    let value = variable(name).ok_or_else(|| Fault::Unset(name.to_owned()))?;
    Ok((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::unnecessary_wraps)] // the shape of a lookup
    fn shout(name: &str) -> Option<String> {
        (name != "UNSET").then(|| format!("<{name}${{X}}>"))
    }

    #[test]
    fn variables_take_their_place_and_are_not_looked_at_again() {
        assert_eq!(expand("a${B}c${D_1}", &shout).unwrap(), "a<B${X}>c<D_1${X}>");
    }

    #[test]
    fn a_doubled_dollar_escapes_and_a_single_one_is_itself() {
        assert_eq!(expand("$${B} $B $$ 5$", &shout).unwrap(), "${B} $B $$ 5$");
        assert_eq!(expand("$${A}${B}", &|_| Some("x".to_owned())).unwrap(), "${A}x");
    }

    #[test]
    fn every_fault_is_counted_at_its_place() {
        let faults = expand("$${A} ${UNSET} ${} ${A-b} ${A", &shout).unwrap_err();
        let expected = [
            (1, Fault::Unset("UNSET".to_owned())),
            (2, Fault::NoName(String::new())),
            (3, Fault::NoName("A-b".to_owned())),
            (4, Fault::Unclosed),
        ];
        assert_eq!(faults, expected);
    }
}
