//! Every code: one row here, one page in `docs/errors/`. Numbers are never used twice.

macro_rules! catalogue {
    ($($variant:ident $number:literal $name:literal)*) => {
        /// What kind of fault a diagnostic reports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($variant),* }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// `E0301`.
            pub fn number(self) -> &'static str {
                match self { $(Code::$variant => $number),* }
            }

            /// `shape-mismatch`.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name),* }
            }
        }

        /// The page of a code, as `ssl explain` prints it.
        pub fn page(code: Code) -> &'static str {
            match code {
                $(Code::$variant => include_str!(concat!("../../docs/errors/", $number, ".md"))),*
            }
        }
    };
}

catalogue! {
    Syntax              "E0101" "syntax"
    Nesting             "E0102" "too-deeply-nested"
    UnknownName         "E0201" "unknown-name"
    UnknownField        "E0202" "unknown-field"
    UnknownSetting      "E0203" "unknown-setting"
    UnknownImport       "E0204" "unknown-import"
    ImportCycle         "E0205" "import-cycle"
    DefinedTwice        "E0206" "defined-twice"
    ShapeMismatch       "E0301" "shape-mismatch"
    TypeMismatch        "E0302" "type-mismatch"
    ArgumentCount       "E0303" "argument-count"
    UnknownArgument     "E0304" "unknown-argument"
    NotCallable         "E0305" "not-callable"
    WrongTime           "E0306" "wrong-time"
    ElementType         "E0307" "element-type"
    IndexRange          "E0308" "index-out-of-range"
    SizeOverflow        "E0309" "size-overflow"
    NotAllowedHere      "E0310" "not-allowed-here"
    BadValue            "E0311" "bad-value"
    RecursionLimit      "E0312" "recursion-limit"
    CannotReach         "E0401" "loss-cannot-reach"
    FrozenTrained       "E0402" "frozen-is-trained"
    StaleLoss           "E0403" "stale-loss"
    TwoOptimisers       "E0404" "two-optimisers"
    NotAView            "E0405" "view-does-not-fit"
    SplitReused         "E0406" "split-trains-and-tests"
    BatchTooLarge       "E0407" "batch-larger-than-data"
    EmptySelection      "E0408" "selects-nothing"
    NotTrainable        "E0409" "not-trainable"
    CarryChanges        "E0410" "carry-changes"
    FileMissing         "E0501" "file-missing"
    FileCorrupt         "E0502" "file-corrupt"
    FileWrongSize       "E0503" "file-wrong-size"
    FileWrite           "E0504" "cannot-write"
    NotFinite           "E0601" "not-finite"
    AssertFailed        "E0602" "assert-failed"
    OutOfMemory         "E0603" "plan-does-not-fit"
    DeviceMissing       "E0604" "device-missing"
    NotYet              "E0701" "not-yet-executable"
    NeverTrained        "W0801" "never-trained"
    OwnTeacher          "W0802" "teacher-with-own-draw"
    ComparedWithItself  "W0803" "compared-with-itself"
    BothRepeated        "W0804" "both-sides-repeated"
    NanBySelect         "W0805" "nan-through-select"
    RootAtZero          "W0806" "root-at-zero"
    Internal            "E0901" "internal"
}
