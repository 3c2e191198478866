//! The table of sources: one row each.

use std::path::Path;

use super::ParamKind::{Bool, Field, Files, Int, List, Text};
use super::{DataError, Entry, Opened, Options, Param, ParamKind};
use super::{built_in, cifar, idx, images, npy, safetensors, table};

/// Opens a source. Relative paths begin at the folder.
pub type SourceFn = fn(&Options, &Path) -> Result<Opened, DataError>;

const fn param(name: &'static str, kind: ParamKind, default: &'static str) -> Param {
    Param { name, kind, default: Some(default) }
}

const fn required(name: &'static str, kind: ParamKind) -> Param {
    Param { name, kind, default: None }
}

const SIZE: Param = param("size", Int, "none");
const RAW: Param = param("raw", Bool, "false");

static SOURCES: &[Entry<SourceFn>] = &[
    Entry {
        name: "mnist",
        doc: "Handwritten digits, built in: 10,000 to train, 2,000 to test, a sixth of MNIST. `image: f32[1, s, s]` from \
              0 to 1 (`raw: true`: u8), `label: int<10>`.",
        params: &[param("size", Int, "28"), param("train", Int, "none"), param("test", Int, "none"), RAW],
        run: built_in::mnist,
    },
    Entry {
        name: "digits",
        doc: "Small handwritten digits, built in: 1,437 to train, 360 to test. `image: f32[1, 8, 8]` from 0 to 1 \
              (`raw: true`: u8 from 0 to 16), `label: int<10>`.",
        params: &[param("size", Int, "8"), RAW],
        run: built_in::digits,
    },
    Entry {
        name: "images",
        doc: "A folder of PNG and JPEG files, a class in each sub-folder, optionally below `train/` and `test/`. `image: \
              f32[3, h, w]` from 0 to 1 (`grey: true`: one channel, `raw: true`: u8), `label`. With `size:` the shorter \
              side is resized to it and the middle is cut out.",
        params: &[required("folder", Text), SIZE, param("grey", Bool, "false"), RAW],
        run: images::open,
    },
    Entry {
        name: "idx",
        doc: "IDX files, plain or gzip. Bytes of rank 3 or more become `image` from 0 to 1 (`raw: true`: u8), others `x`.",
        params: &[
            required("images", Text),
            param("labels", Text, "none"),
            param("test_images", Text, "none"),
            param("test_labels", Text, "none"),
            SIZE,
            RAW,
        ],
        run: idx::open,
    },
    Entry {
        name: "cifar10",
        doc: "A folder with CIFAR-10's binary files: `data_batch_1.bin` … and `test_batch.bin`, or `train.bin` and \
              `test.bin`, plain or gzip. `image: f32[3, 32, 32]` from 0 to 1 (`raw: true`: u8), `label`.",
        params: &[required("folder", Text), SIZE, RAW],
        run: cifar::open,
    },
    Entry {
        name: "npy",
        doc: "NumPy files, a field each: `npy(x: \"x.npy\", label: \"y.npy\")`. The first axis counts records.",
        params: &[required("fields", Files)],
        run: npy::open,
    },
    Entry {
        name: "safetensors",
        doc: "The tensors of a safetensors file, a field each. The first axis counts records.",
        params: &[required("file", Text)],
        run: safetensors::open,
    },
    Entry {
        name: "csv",
        doc: "A table with a header line. Columns of numbers become `x: f32[d]`, columns of text a class number each, \
              under their own name. `label:` names the column of classes, `target:` a number to predict; `missing: \
              \"skip\"` leaves out records with empty cells.",
        params: &[
            required("file", Text),
            param("label", Field, "none"),
            param("target", Field, "none"),
            param("columns", List, "none"),
            param("missing", Text, "\"error\""),
            param("separator", Text, "\",\""),
        ],
        run: table::open,
    },
];

pub fn sources() -> &'static [Entry<SourceFn>] {
    SOURCES
}

pub fn source(name: &str) -> Option<&'static Entry<SourceFn>> {
    SOURCES.iter().find(|entry| entry.name == name)
}
