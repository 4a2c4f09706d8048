//! Users, read from `/etc/passwd` itself.
//!
//! The C library's lookup loads modules of the guest's own library, which a static binary must not do. Users of
//! a directory service are therefore not found.

use std::fs;

/// Where users are listed.
const PASSWD: &str = "/etc/passwd";

/// Largest list that is read, in bytes: tens of thousands of users.
const MAX_PASSWD_BYTES: u64 = 4 * 1024 * 1024;

/// A user that scripts can run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory.
    pub home: String,
}

/// The users of a system, as one read of its list.
#[derive(Clone, Debug, Default)]
pub struct Users {
    text: String,
}

impl Users {
    /// Of this system. A guest without the list has root only.
    #[must_use]
    pub fn system() -> Self {
        let small = fs::metadata(PASSWD).is_ok_and(|metadata| metadata.len() <= MAX_PASSWD_BYTES);
        let text = if small { fs::read(PASSWD).unwrap_or_default() } else { Vec::new() };
        Self { text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// By name or by number. Root is always there.
    #[must_use]
    pub fn lookup(&self, user: &str) -> Option<User> {
        let listed = self.text.lines().filter_map(parse);
        let found = listed.clone().find(|candidate| candidate.name == user);
        let number = user.parse::<u32>().ok();
        found
            .or_else(|| listed.clone().find(|candidate| Some(candidate.uid) == number))
            .or_else(|| (user == "root" || number == Some(0)).then(root))
    }
}

fn root() -> User {
    User { name: "root".to_owned(), uid: 0, gid: 0, home: "/root".to_owned() }
}

/// `name:password:uid:gid:comment:home:shell`
fn parse(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1).filter(|home| home.starts_with('/')).unwrap_or("/").to_owned();
    Some(User { name, uid, gid, home })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_then_by_number_and_bad_lines_are_skipped() {
        let text = "broken\nroot:x:0:0:root:/root:/bin/sh\n:x:5:5::/:\n+::::::\ndb:x:1001:100:Data,Base:/var/db:\n\
            7:x:1002:100::relative:/bin/sh\n";
        let users = Users { text: text.to_owned() };
        let db = users.lookup("db").unwrap();
        assert_eq!((db.uid, db.gid, db.home.as_str()), (1001, 100, "/var/db"));
        assert_eq!(users.lookup("1001").unwrap().name, "db");
        assert_eq!(users.lookup("7").unwrap().uid, 1002, "a name of digits comes first");
        assert_eq!(users.lookup("7").unwrap().home, "/");
        assert_eq!(users.lookup("nobody"), None);
        assert_eq!(users.lookup("5"), None);
        assert_eq!(Users::default().lookup("root").unwrap().uid, 0);
    }
}
