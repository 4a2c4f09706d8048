//! From text to [`Configuration`], with line and column of what is wrong.

use roxmltree::{Document, Node, ParsingOptions};

use super::attribute::{APPLICATION, DEPENDENCY, VMM};
use super::{
    Application, ConfigError, Configuration, Dependency, MAX_FILE_BYTES, MAX_NODES, Problem, UnfitDependency,
    Values, Vmm,
};
use super::{position, unknown};

pub(super) fn read(text: &str, max_apps: usize) -> Result<Configuration, ConfigError> {
    let document = parse(text)?;
    let root = document.root_element();
    if !root.has_tag_name("Monitoring") {
        return Err(error_at(root, root.range().start, Problem::Root(root.tag_name().name().to_owned())));
    }
    let vmm = Vmm::new(values(root, Values::new(VMM))?);
    let mut configuration = Configuration { vmm, unknown: unknown::find(root), ..Configuration::default() };
    for node in root.children().filter(|node| node.has_tag_name("Application")) {
        if configuration.applications.len() == max_apps {
            return Err(error_at(node, node.range().start, Problem::TooMany(max_apps)));
        }
        let application = application(node)?;
        check_unique(node, &application, &configuration.applications)?;
        configuration.applications.push(application);
    }
    // They may stand before the applications that they name.
    for node in root.children().filter(|node| node.has_tag_name("Dependency")) {
        let dependency = dependency(node, &configuration)?;
        configuration.dependencies.push(dependency);
    }
    Ok(configuration)
}

/// Parses without DTD and within the limits.
pub(super) fn parse(text: &str) -> Result<Document<'_>, ConfigError> {
    if text.len() > MAX_FILE_BYTES {
        return Err(ConfigError { line: 1, column: 1, problem: Problem::TooLarge });
    }
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| {
        let place = position::of(&error, text);
        ConfigError { line: place.row, column: place.col, problem: Problem::Xml(position::words(&error)) }
    })
}

fn application(node: Node<'_, '_>) -> Result<Application, ConfigError> {
    let values = values(node, Values::new(APPLICATION))?;
    let name = node.attribute("name").unwrap_or_default();
    Application::new(name, values)
        .map_err(|unfit| error_at(node, node.range().start, Problem::Unfit { name: name.to_owned(), unfit }))
}

fn dependency(node: Node<'_, '_>, others: &Configuration) -> Result<Dependency, ConfigError> {
    let values = values(node, Values::new(DEPENDENCY))?;
    let uuid = node.attribute("depuuid").unwrap_or_default().to_owned();
    let taken = others.applications.iter().map(|application| &application.uuid);
    if taken.chain(others.dependencies.iter().map(|other| &other.uuid)).any(|other| *other == uuid) {
        let problem = Problem::Duplicate { attribute: "depuuid", text: uuid };
        return Err(error_at(node, node.range().start, problem));
    }
    let unfit = |unfit: UnfitDependency| {
        error_at(node, node.range().start, Problem::UnfitDependency { uuid: uuid.clone(), unfit })
    };
    let dependency = Dependency::new(values).map_err(unfit)?;
    others.check_dependency(&dependency).map_err(unfit)?;
    Ok(dependency)
}

fn values(node: Node<'_, '_>, mut values: Values) -> Result<Values, ConfigError> {
    for attribute in node.attributes().filter(|attribute| attribute.namespace().is_none()) {
        values
            .read(attribute.name(), attribute.value())
            .map_err(|invalid| error_at(node, attribute.range().start, Problem::Value(invalid)))?;
    }
    Ok(values)
}

fn check_unique(node: Node<'_, '_>, new: &Application, others: &[Application]) -> Result<(), ConfigError> {
    for other in others {
        for (attribute, mine, theirs) in [("name", &new.name, &other.name), ("uuid", &new.uuid, &other.uuid)]
        {
            if mine == theirs {
                let offset =
                    node.attribute_node(attribute).map_or(node.range().start, |found| found.range().start);
                return Err(error_at(node, offset, Problem::Duplicate { attribute, text: mine.clone() }));
            }
        }
    }
    Ok(())
}

fn error_at(node: Node<'_, '_>, offset: usize, problem: Problem) -> ConfigError {
    let position = node.document().text_pos_at(offset);
    ConfigError { line: position.row, column: position.col, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn one(attributes: &str) -> String {
        format!(
            "<Monitoring version=\"1.0\">\n  <Application name=\"a\" uuid=\"1567267349133928000\" \
             monitor_script=\"/m\" start_script=\"/s\" stop_script=\"/t\" {attributes}/>\n</Monitoring>"
        )
    }

    #[test]
    fn the_page_s_example_is_read() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Monitoring version=\"1.0\" log=\"3\" period=\"0\" \
            rebootappstarttype=\"OS\" comment=\"2026-11-21 03:00:00\" newer=\"x\">\n<Application name=\"app1\" \
            uuid=\"1567267349133928000\" monitored=\"0\" critical=\"yes\" monitor_script=\"/m 1\" start_script=\"/s\" \
            stop_script=\"/t\" desc=\"&lt;a&gt;\" future=\"1\"/>\n<Application name=\"app2\" \
            uuid=\"1567267349133928001\" monitor_script=\"/m\" start_script=\"/s\" stop_script=\"/t\"/>\n<Dependency depuuid=\"1542239347575681000\" \
            dependency_type=\"start_sequence\" dependency_list=\"app1,app2\" strict=\"YES\"/>\n</Monitoring>";
        let configuration = Configuration::read(text, 16).unwrap();
        assert_eq!((configuration.vmm.log, configuration.vmm.period), (3, Duration::ZERO));
        assert_eq!(configuration.vmm.boot_start, crate::config::BootStart::System);
        assert_eq!(configuration.dependency_of("app2").unwrap().list, ["app1", "app2"]);
        let application = configuration.application("app1").unwrap();
        assert!(application.critical && !application.monitored);
        assert_eq!(application.monitor_script, "/m 1");
        assert_eq!(application.values.text("desc"), "<a>");
        assert_eq!(application.monitor_period, Duration::from_secs(30));
        assert_eq!(application.user, "root");
    }

    #[test]
    fn every_mistake_has_its_line_and_column() {
        let two = one("").replace("</Monitoring>", &one("").replace("<Monitoring version=\"1.0\">", ""));
        for (text, line, column, words) in [
            (String::new(), 1, 1, "no document element"),
            ("<!DOCTYPE a [<!ENTITY x \"y\">]><a/>".to_owned(), 1, 1, "DTD"),
            ("<Config/>".to_owned(), 1, 1, "Config, not Monitoring"),
            ("<Monitoring>\n <Application\n</Monitoring>".to_owned(), 3, 1, ""),
            ("<Monitoring log=\"7\"/>".to_owned(), 1, 13, "log=\"7\": expected a whole number from 0 to 3"),
            (one("monitor_period=\"x\""), 2, 107, "monitor_period"),
            (
                one("monitor_timeout=\"30\""),
                2,
                3,
                "monitor_period (30 s) must be greater than monitor_timeout (30 s)",
            ),
            (one("type=\"OCF\""), 2, 3, "type=OCF: instancename=\"\" names no agent"),
            (one("type=\"ocf\""), 2, 107, "expected nothing or OCF or NAGIOS"),
            (one("param.x-y=\"1\""), 2, 107, "param.NAME=\"x-y\": expected a name of letters"),
            (one("param.x=\"1\""), 2, 3, "param.x is for applications of type OCF or of a product"),
            (one("critical=\"maybe\""), 2, 107, "expected yes or no"),
            (one("").replace("/m", ""), 2, 3, "monitor_script must be given"),
            (one("").replace("name=\"a\"", "name=\"a b\""), 2, 3, "no application name"),
            (one("").replace("uuid=\"1567267349133928000\"", ""), 2, 3, "uuid must be given"),
            (two, 4, 0, "already"),
        ] {
            let error = Configuration::read(&text, 16).unwrap_err();
            assert!(error.to_string().contains(words), "{text}: {error}");
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(column == 0 || error.column == column, "{text}: {error}");
        }
    }

    #[test]
    fn limits_hold() {
        assert!(Configuration::read(&one(""), 1).is_ok());
        let error = Configuration::read(&one(""), 0).unwrap_err();
        assert!(error.to_string().contains("more than 0 applications"), "{error}");
        let huge = format!("<Monitoring>{}</Monitoring>", " ".repeat(MAX_FILE_BYTES));
        assert_eq!(Configuration::read(&huge, 1).unwrap_err().problem, Problem::TooLarge);
        let nodes = format!("<Monitoring>{}</Monitoring>", "<x/>".repeat(30_000));
        assert!(matches!(Configuration::read(&nodes, 1).unwrap_err().problem, Problem::Xml(_)));
    }
}
