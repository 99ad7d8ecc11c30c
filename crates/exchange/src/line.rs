use std::fmt;
use std::sync::Arc;

/// One line of a text that many lines share: a queue of a million entries is one text, and not a
/// million.
#[derive(Clone)]
pub(crate) struct Line {
    text: Arc<String>,
    begin: u32,
    end: u32,
}

impl Line {
    /// The part of a text from one byte to another; the text is shorter than 4 GiB.
    pub(crate) fn within(text: &Arc<String>, begin: usize, end: usize) -> Self {
        let at = |byte| u32::try_from(byte).expect("a text that is read has a limit below 4 GiB");
        Self { text: Arc::clone(text), begin: at(begin), end: at(end) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text[self.begin as usize..self.end as usize]
    }

    /// The same line on its own: it does not keep the text of all the others in memory.
    pub(crate) fn detached(&self) -> Self {
        self.as_str().to_owned().into()
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        let end = text.len();
        Self::within(&Arc::new(text), 0, end)
    }
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}
