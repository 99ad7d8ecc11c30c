//! The words that scripts write for how far a job is: read generously, since a job whose word
//! nobody understands would wait for its whole week.

use bcrlapi_domain::Status;

const PENDING: &str = "pending queued waiting 待機 待機中 待ち 処理待ち 実行待ち 未処理 未実行 未着手";
const PROCESSING: &str = "processing active busy in_process in_progress inprogress retrying running started working \
                          処理中 実行中 計算中 作業中 進行中 再試行中";
const DONE: &str = "done complete completed completion end ended finish finished ok succeeded success successful \
                    successfully 完了 完成 終了 済 済み 処理済み 成功 正常終了";
const FAILED: &str = "failed abort aborted canceled cancelled crashed err error errored exception fail failure \
                      interrupted invalid killed lost ng no_good rejected stopped terminated timed_out timedout \
                      timeout 失敗 エラー 異常終了 強制終了 中止 中断 停止 キャンセル タイムアウト";

/// What a status word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusWord {
    /// One of the three, or a synonym.
    Known(Status),
    /// Done, and without a result.
    Failed,
    /// No word of ours. Somebody has written it over `pending`, so the job has had its turn.
    Unknown,
}

/// What an outcome word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutcomeWord {
    Succeeded,
    Failed,
    Unknown,
}

impl StatusWord {
    /// Reads a word in any case, with blanks or hyphens in it and around it.
    pub(crate) fn read(word: &str) -> Self {
        // What almost every entry says, without making another text of it.
        if let Ok(status) = word.parse() {
            return Self::Known(status);
        }
        let word = plain(word);

        if is_one_of(PENDING, &word) {
            Self::Known(Status::Pending)
        } else if is_one_of(PROCESSING, &word) {
            Self::Known(Status::Processing)
        } else if is_one_of(DONE, &word) {
            Self::Known(Status::Done)
        } else if is_one_of(FAILED, &word) {
            Self::Failed
        } else {
            Self::Unknown
        }
    }
}

impl OutcomeWord {
    /// Reads a word as that of a status is read.
    pub(crate) fn read(word: &str) -> Self {
        let word = plain(word);
        if word == "false" || is_one_of(FAILED, &word) {
            Self::Failed
        } else if word == "true" || is_one_of(DONE, &word) {
            Self::Succeeded
        } else {
            Self::Unknown
        }
    }
}

fn is_one_of(words: &str, word: &str) -> bool {
    words.split_ascii_whitespace().any(|other| other == word)
}

fn plain(word: &str) -> String {
    word.trim().to_lowercase().replace([' ', '-'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_any_case_and_by_synonym() {
        for (word, read) in [
            ("Pending", StatusWord::Known(Status::Pending)),
            ("In Progress", StatusWord::Known(Status::Processing)),
            (" DONE\n", StatusWord::Known(Status::Done)),
            ("completed", StatusWord::Known(Status::Done)),
            ("Error", StatusWord::Failed),
            ("NG", StatusWord::Failed),
            ("Timed out", StatusWord::Failed),
            ("ended", StatusWord::Known(Status::Done)),
            ("待機中", StatusWord::Known(Status::Pending)),
            ("実行中", StatusWord::Known(Status::Processing)),
            ("\u{3000}完了", StatusWord::Known(Status::Done)),
            ("エラー", StatusWord::Failed),
            ("in_progress running", StatusWord::Unknown),
            ("erledigt", StatusWord::Unknown),
            ("", StatusWord::Unknown),
        ] {
            assert_eq!(StatusWord::read(word), read, "{word:?}");
        }
        assert_eq!(OutcomeWord::read("FAILURE"), OutcomeWord::Failed);
        assert_eq!(OutcomeWord::read("Success"), OutcomeWord::Succeeded);
        assert_eq!(OutcomeWord::read("失敗"), OutcomeWord::Failed);
        assert_eq!(OutcomeWord::read("False"), OutcomeWord::Failed);
        assert_eq!(OutcomeWord::read("so-so"), OutcomeWord::Unknown);
    }
}
