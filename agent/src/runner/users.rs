//! Users, read from `/etc/passwd` itself.
//!
//! The C library's lookup loads modules of the guest's own library, which a static binary must not do. Users of
//! a directory service are therefore not found.

use std::fs;

/// Where users are listed.
const PASSWD: &str = "/etc/passwd";

/// Where groups and their members are listed.
const GROUP: &str = "/etc/group";

/// Most supplementary groups of a user; a list that gives more is a mistake, and the first ones count.
const MAX_GROUPS: usize = 256;

/// Largest list that is read, in bytes: tens of thousands of users.
const MAX_LIST_BYTES: u64 = 4 * 1024 * 1024;

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
    /// All groups, the primary one first.
    pub groups: Vec<u32>,
}

/// The users of a system, as one read of its list.
#[derive(Clone, Debug, Default)]
pub struct Users {
    users: String,
    groups: String,
}

impl Users {
    /// Of this system. A guest without the list has root only.
    #[must_use]
    pub fn system() -> Self {
        Self { users: list(PASSWD), groups: list(GROUP) }
    }

    /// By name or by number. Root is always there.
    #[must_use]
    pub fn lookup(&self, user: &str) -> Option<User> {
        let listed = self.users.lines().filter_map(parse);
        let found = listed.clone().find(|candidate| candidate.name == user);
        let number = user.parse::<u32>().ok();
        found
            .or_else(|| listed.clone().find(|candidate| Some(candidate.uid) == number))
            .or_else(|| (user == "root" || number == Some(0)).then(root))
            .map(|found| self.with_groups(found))
    }

    fn with_groups(&self, user: User) -> User {
        let others = self.groups.lines().filter_map(|line| member(line, &user.name));
        let mut groups = vec![user.gid];
        for gid in others.filter(|gid| *gid != user.gid).take(MAX_GROUPS - 1) {
            groups.push(gid);
        }
        User { groups, ..user }
    }
}

fn list(path: &str) -> String {
    let small = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= MAX_LIST_BYTES);
    let bytes = if small { fs::read(path).unwrap_or_default() } else { Vec::new() };
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `name:password:gid:member,member`: the gid, if `user` is a member.
fn member(line: &str, user: &str) -> Option<u32> {
    let mut fields = line.split(':').skip(2);
    let gid = fields.next()?.parse().ok()?;
    fields.next()?.split(',').any(|name| name.trim() == user).then_some(gid)
}

fn root() -> User {
    User { name: "root".to_owned(), uid: 0, gid: 0, home: "/root".to_owned(), groups: Vec::new() }
}

/// `name:password:uid:gid:comment:home:shell`
fn parse(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1).filter(|home| home.starts_with('/')).unwrap_or("/").to_owned();
    Some(User { name, uid, gid, home, groups: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_then_by_number_and_bad_lines_are_skipped() {
        let text = "broken\nroot:x:0:0:root:/root:/bin/sh\n:x:5:5::/:\n+::::::\ndb:x:1001:100:Data,Base:/var/db:\n\
            7:x:1002:100::relative:/bin/sh\n";
        let groups = "broken\ndba:x:500:x,db\nusers:x:100:db\nother:x:501:dbx\nlog:x:502:db , y\n:::\n";
        let users = Users { users: text.to_owned(), groups: groups.to_owned() };
        let db = users.lookup("db").unwrap();
        assert_eq!((db.uid, db.gid, db.home.as_str()), (1001, 100, "/var/db"));
        assert_eq!(db.groups, [100, 500, 502]);
        assert_eq!(users.lookup("1001").unwrap().name, "db");
        assert_eq!(users.lookup("7").unwrap().uid, 1002, "a name of digits comes first");
        assert_eq!(users.lookup("7").unwrap().home, "/");
        assert_eq!(users.lookup("nobody"), None);
        assert_eq!(users.lookup("5"), None);
        let root = Users::default().lookup("root").unwrap();
        assert_eq!((root.uid, root.groups), (0, vec![0]));
    }
}
