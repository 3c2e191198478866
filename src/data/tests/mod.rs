//! Sources and transforms from the outside: files made on the fly, opened as a program would.

mod damage;
mod files;
mod loading;
mod pictures;
mod transforms;

use std::path::Path;

use super::*;

/// A spec as the elaborator makes it: options read against the table.
pub fn spec(folder: &Path, source: &str, positional: Vec<Setting>, named: Vec<(&str, Setting)>) -> Spec {
    let params = super::source(source).expect("a row of the table").params;
    let options = read_options(params, positional, owned(named)).expect("options of the source");
    Spec { source: source.into(), options, transforms: Vec::new(), folder: folder.into() }
}

impl Spec {
    fn then(mut self, name: &str, positional: Vec<Setting>, named: Vec<(&str, Setting)>) -> Spec {
        let params = transform(name).expect("a row of the table").params;
        let options = read_options(params, positional, owned(named)).expect("options of the transform");
        self.transforms.push(Transform { name: name.into(), options });
        self
    }
}

fn owned(named: Vec<(&str, Setting)>) -> Vec<(String, Setting)> {
    named.into_iter().map(|(name, setting)| (name.to_string(), setting)).collect()
}

fn int(n: i64) -> Setting {
    Setting::Int(n)
}

fn float(x: f64) -> Setting {
    Setting::Float(x)
}

fn name(field: &str) -> Setting {
    Setting::Field(field.into())
}

fn words(text: &str) -> Setting {
    Setting::Text(text.into())
}

fn mnist(named: Vec<(&str, Setting)>) -> Spec {
    spec(Path::new(""), "mnist", vec![], named)
}

fn digits() -> Spec {
    spec(Path::new(""), "digits", vec![], vec![])
}

fn rows(data: &Opened, split: &str) -> Vec<usize> {
    (0..data.schema().count(split).unwrap().unwrap()).collect()
}

fn labels(data: &Opened, split: &str) -> Vec<i64> {
    match data.read(split, "label", &rows(data, split)).unwrap() {
        Column::I64(labels) => labels,
        other => panic!("labels are whole numbers, not {:?}", other.dtype()),
    }
}

/// Records of each class.
fn tally(data: &Opened, split: &str) -> Vec<usize> {
    let mut tally = vec![0; data.schema().field("label").unwrap().limit.unwrap()];
    for label in labels(data, split) {
        tally[label as usize] += 1;
    }
    tally
}

fn f32s(column: Column) -> Vec<f32> {
    match column {
        Column::F32(values) => values,
        other => panic!("f32 expected, not {:?}", other.dtype()),
    }
}

fn error(spec: &Spec) -> DataError {
    match open(spec) {
        Err(error) => error,
        Ok(data) => panic!("opened, but should not: {:?}", data.schema()),
    }
}

mod options {
    use super::*;
    use crate::diagnostics::Code;

    fn read(source: &str, positional: Vec<Setting>, named: Vec<(&str, Setting)>) -> Result<Options, OptionError> {
        read_options(super::source(source).unwrap().params, positional, owned(named))
    }

    #[test]
    fn defaults_are_filled_in_and_positions_named() {
        let options = read("mnist", vec![int(14)], vec![]).unwrap();
        assert_eq!(options.get("size"), Some(&int(14)));
        assert_eq!(options.get("raw"), Some(&Setting::Bool(false)));
        assert_eq!(options.get("train"), None);
        assert_eq!(read("mnist", vec![], vec![]).unwrap(), read("mnist", vec![int(28)], vec![]).unwrap());
    }

    #[test]
    fn slips_are_answered_with_what_was_meant() {
        let error = read("mnist", vec![], vec![("sise", int(14))]).unwrap_err();
        assert_eq!(error.code(), Code::UnknownArgument);
        assert_eq!(error.to_string(), "there is no option `sise`");
        assert_eq!(error.help().as_deref(), Some("did you mean `size`?"));
        assert_eq!(error.option(), Some("sise"));
    }

    #[test]
    fn kinds_and_counts_are_checked() {
        let error = read("mnist", vec![words("14")], vec![]).unwrap_err();
        assert_eq!(error.to_string(), "`size` must be a whole number, this is a text");
        assert_eq!(error.code(), Code::TypeMismatch);
        let error = read("images", vec![], vec![]).unwrap_err();
        assert_eq!(error.to_string(), "`folder` is missing");
        let error = read("digits", vec![int(8), Setting::Bool(true), int(1)], vec![]).unwrap_err();
        assert_eq!(error.to_string(), "at most 2 values can stand here without a name, these are 3");
        let error = read("mnist", vec![int(14)], vec![("size", int(14))]).unwrap_err();
        assert_eq!(error.to_string(), "`size` is given twice");
        let error = read("npy", vec![], vec![]).unwrap_err();
        assert_eq!(error.to_string(), "`fields` is missing");
    }

    #[test]
    fn named_amounts_keep_their_order() {
        let params = transform("split").unwrap().params;
        let read = |named| read_options(params, vec![], owned(named));
        let options = read(vec![("val", int(3)), ("train", float(0.5)), ("seed", int(7))]).unwrap();
        let names: Vec<&str> = options.keys().map(String::as_str).collect();
        assert_eq!(names, ["seed", "val", "train"]);
        let slip = read(vec![("train", float(0.5)), ("stratifed", name("label"))]).unwrap_err();
        assert_eq!(slip.help().as_deref(), Some("did you mean `stratified`?"));
        assert!(matches!(read(vec![]), Err(OptionError::Missing { .. })));
    }

    #[test]
    fn every_default_of_the_tables_can_be_read() {
        let tables = sources()
            .iter()
            .map(|row| (row.name, row.params))
            .chain(transforms().iter().map(|row| (row.name, row.params)));
        for (row, params) in tables {
            for param in params.iter().filter(|param| param.default.is_some_and(|text| text != "none")) {
                // All that must be given is, so that only defaults are left to read.
                let given = params.iter().filter(|param| param.default.is_none());
                let named = given.map(|param| {
                    let setting = match param.kind {
                        ParamKind::Text | ParamKind::Files => words("a"),
                        ParamKind::Float => float(2.0),
                        _ => int(1),
                    };
                    (param.name.to_string(), setting)
                });
                let options = read_options(params, vec![], named.collect()).unwrap();
                assert!(options.contains_key(param.name), "`{}` of `{row}`", param.name);
            }
        }
    }
}
