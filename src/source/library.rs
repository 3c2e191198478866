//! The embedded library: `stdlib/` as it stood when the binary was built.

use include_dir::{Dir, include_dir};

static LIBRARY: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/stdlib");

/// The text of a library file by its path below `stdlib/`, such as `net/mlp.ssl`.
pub fn library_file(path: &str) -> Option<&'static str> {
    LIBRARY.get_file(path).and_then(|file| file.contents_utf8())
}

/// Every `.ssl` file of the library with its path below `stdlib/`, in order of path.
pub fn library_files() -> Vec<(String, &'static str)> {
    fn walk(dir: &'static Dir<'static>, found: &mut Vec<(String, &'static str)>) {
        for file in dir.files() {
            let path = file.path().to_string_lossy().replace('\\', "/");
            if let (true, Some(text)) = (path.ends_with(".ssl"), file.contents_utf8()) {
                found.push((path, text));
            }
        }
        dir.dirs().for_each(|dir| walk(dir, found));
    }
    let mut found = Vec::new();
    walk(&LIBRARY, &mut found);
    found.sort();
    found
}
