//! What messages say. Each template is a file `<name>.txt`: a line `Subject: …`, an empty line, and the text, in the
//! language of [minijinja](https://docs.rs/minijinja) (Jinja). It knows `order_id`, `status`, `amount` and `name`; what is
//! not known of a message is empty, and false in an `{% if %}`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use contracts::Slug;
use contracts::order::OrderStatus;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};

use crate::Notification;

/// The built-in templates, one for each step that the customer is told of.
const BUILT_IN: [(&str, &str); 7] = [
    (ORDER_CONFIRMED, include_str!("../templates/order-confirmed.txt")),
    (ORDER_REJECTED, include_str!("../templates/order-rejected.txt")),
    (ORDER_PAID, include_str!("../templates/order-paid.txt")),
    (ORDER_CANCELLED, include_str!("../templates/order-cancelled.txt")),
    (ORDER_EXPIRED, include_str!("../templates/order-expired.txt")),
    (ORDER_FULFILLED, include_str!("../templates/order-fulfilled.txt")),
    (PAYMENT_REFUNDED, include_str!("../templates/payment-refunded.txt")),
];
pub(crate) const ORDER_CONFIRMED: &str = "order-confirmed";
pub(crate) const ORDER_REJECTED: &str = "order-rejected";
pub(crate) const ORDER_PAID: &str = "order-paid";
pub(crate) const ORDER_CANCELLED: &str = "order-cancelled";
pub(crate) const ORDER_EXPIRED: &str = "order-expired";
pub(crate) const ORDER_FULFILLED: &str = "order-fulfilled";
pub(crate) const PAYMENT_REFUNDED: &str = "payment-refunded";

/// A larger file is no template.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// A longer subject is cut.
const SUBJECT_CHARS_MAX: usize = 200;

/// A template that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("template {}: {reason}", path.display())]
pub struct Error {
    path: PathBuf,
    reason: String,
}

/// All templates, checked.
pub(crate) struct Templates {
    environment: Environment<'static>,
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Templates").finish_non_exhaustive()
    }
}

/// A message's text.
pub(crate) struct Rendered {
    pub(crate) subject: String,
    pub(crate) body: String,
}

/// The template for an order's status, if that is one that its customer is told of.
pub(crate) fn of_status(status: OrderStatus) -> Option<&'static str> {
    match status {
        OrderStatus::Pending => None,
        OrderStatus::Confirmed => Some(ORDER_CONFIRMED),
        OrderStatus::Rejected => Some(ORDER_REJECTED),
        OrderStatus::Paid => Some(ORDER_PAID),
        OrderStatus::Fulfilled => Some(ORDER_FULFILLED),
        OrderStatus::Cancelled => Some(ORDER_CANCELLED),
        OrderStatus::Expired => Some(ORDER_EXPIRED),
        OrderStatus::Refunded => Some(PAYMENT_REFUNDED),
    }
}

/// Whether these templates could be used, without using them.
pub fn check(directory: Option<&Path>) -> Result<(), Error> {
    Templates::load(directory).map(drop)
}

impl Templates {
    /// The built-in templates, with those of the directory over and beside them. A file that cannot be used is an error
    /// now rather than a message that fails later.
    pub(crate) fn load(directory: Option<&Path>) -> Result<Self, Error> {
        let mut sources: BTreeMap<String, (PathBuf, String)> = BUILT_IN
            .iter()
            .map(|(name, source)| (name.to_string(), (PathBuf::from(name), source.to_string())))
            .collect();
        if let Some(directory) = directory {
            sources.extend(read(directory)?);
        }
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_formatter(|output, state, value| {
            if value.is_none() {
                Ok(())
            } else {
                minijinja::escape_formatter(output, state, value)
            }
        });
        let mut templates = Self { environment };
        for (name, (path, source)) in sources {
            let added = templates.add(&name, &source);
            added.map_err(|reason| Error { path, reason })?;
        }
        Ok(templates)
    }

    /// Parses a template and tries it on a message of which everything is known, and on one of which nothing is.
    fn add(&mut self, name: &str, source: &str) -> Result<(), String> {
        let source = source.replace("\r\n", "\n");
        let (subject, body) = source
            .split_once("\n\n")
            .ok_or("an empty line must divide the subject from the text")?;
        let subject = subject
            .strip_prefix("Subject: ")
            .ok_or("the first line must begin with `Subject: `")?;
        let name_is_fit = Slug::try_from(name).map_err(|error| format!("its name {error}"))?;
        for (part, source) in [(SUBJECT, subject), (BODY, body)] {
            let added = self
                .environment
                .add_template_owned(part_name(name, part), source.to_owned());
            added.map_err(|error| format!("{error:#}"))?;
        }
        for known in [Some("known"), None] {
            let values = context! { order_id => known, status => known, amount => known, name => known };
            self.render_with(&name_is_fit, &values)
                .map_err(|error| format!("{error:#}"))?;
        }
        Ok(())
    }

    /// Whether there is a template of this name.
    pub(crate) fn contains(&self, template: &Slug) -> bool {
        self.environment
            .get_template(&part_name(template.as_str(), SUBJECT))
            .is_ok()
    }

    /// What a notification says to this person, or to nobody in particular.
    pub(crate) fn render(&self, notification: &Notification, name: Option<&str>) -> Result<Rendered, minijinja::Error> {
        self.render_with(&notification.template, &values(notification, name))
    }

    /// Its subject as it reads for nobody in particular.
    pub(crate) fn headline(&self, notification: &Notification) -> Result<String, minijinja::Error> {
        self.subject(&notification.template, &values(notification, None))
    }

    fn render_with(&self, template: &Slug, values: &minijinja::Value) -> Result<Rendered, minijinja::Error> {
        let subject = self.subject(template, values)?;
        let body = self
            .environment
            .get_template(&part_name(template.as_str(), BODY))?
            .render(values)?;
        Ok(Rendered { subject, body })
    }

    /// One line, whatever is in it: a line break would begin another header of the mail.
    fn subject(&self, template: &Slug, values: &minijinja::Value) -> Result<String, minijinja::Error> {
        let subject = self
            .environment
            .get_template(&part_name(template.as_str(), SUBJECT))?
            .render(values)?;
        let words: Vec<&str> = subject.split(|c: char| c.is_whitespace() || c.is_control()).collect();
        let line = words
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        Ok(line.chars().take(SUBJECT_CHARS_MAX).collect())
    }
}

const SUBJECT: &str = "subject";
const BODY: &str = "text";

fn part_name(template: &str, part: &str) -> String {
    format!("{template}/{part}")
}

fn values(notification: &Notification, name: Option<&str>) -> minijinja::Value {
    context! {
        order_id => notification.order_id.map(|id| id.to_string()),
        status => notification.order_status.map(OrderStatus::as_str),
        amount => notification.amount.map(|amount| amount.to_string()),
        name => name,
    }
}

fn read(directory: &Path) -> Result<BTreeMap<String, (PathBuf, String)>, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| Error {
            path,
            reason: error.to_string(),
        }
    };
    let mut sources = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(failed(directory))? {
        let path = entry.map_err(failed(directory))?.path();
        let (Some(name), Some("txt")) = (
            path.file_stem().and_then(|name| name.to_str()).map(str::to_owned),
            path.extension().and_then(|ending| ending.to_str()),
        ) else {
            continue;
        };
        if std::fs::metadata(&path).map_err(failed(&path))?.len() > FILE_BYTES_MAX {
            return Err(Error {
                path,
                reason: format!("it is larger than {FILE_BYTES_MAX} bytes"),
            });
        }
        let source = std::fs::read_to_string(&path).map_err(failed(&path))?;
        sources.insert(name, (path, source));
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[(&str, &str)]) -> Result<Templates, String> {
        let directory = tempfile::tempdir().unwrap();
        for (name, source) in files {
            std::fs::write(directory.path().join(name), source).unwrap();
        }
        Templates::load(Some(directory.path())).map_err(|error| error.reason)
    }

    fn render(templates: &Templates, template: &str, name: Option<&str>) -> (String, String) {
        let id = "01h455vb4pex5vsknk084sn02q";
        let amount = contracts::Money::parse_major("1250.00", contracts::Currency::EUR).unwrap();
        let values = context! {
            order_id => format!("ord_{id}"), status => "paid", amount => amount.to_string(), name => name,
        };
        let rendered = templates.render_with(&template.parse().unwrap(), &values).unwrap();
        (rendered.subject, rendered.body)
    }

    #[test]
    fn the_built_in_templates_are_sound() {
        let templates = Templates::load(None).unwrap();
        let (subject, body) = render(&templates, ORDER_PAID, Some("Ada <3"));
        assert_eq!(subject, "Your order ord_01h455vb4pex5vsknk084sn02q is paid");
        assert!(
            body.starts_with("Hello Ada <3,\n\nthank you. We received 1,250.00 EUR for order ord_"),
            "{body}"
        );
        assert!(render(&templates, ORDER_PAID, None).1.starts_with("Hello,\n"));
        for status in OrderStatus::ALL {
            let Some(name) = of_status(*status) else { continue };
            assert!(templates.contains(&name.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn a_file_stands_in_for_a_built_in_template_or_adds_one() {
        let files = [
            ("order-paid.txt", "Subject: Merci {{ name }}\r\n\r\nOui."),
            ("special-offer.txt", "Subject: For you\n\nBuy."),
            ("README.md", "no template"),
        ];
        let templates = load(&files).unwrap();
        assert_eq!(
            render(&templates, ORDER_PAID, Some("Ada")),
            ("Merci Ada".to_owned(), "Oui.".to_owned())
        );
        assert_eq!(render(&templates, ORDER_PAID, None).0, "Merci");
        assert!(templates.contains(&"special-offer".parse().unwrap()));
        assert!(templates.contains(&ORDER_CONFIRMED.parse().unwrap()));
        assert!(!templates.contains(&"README".parse().unwrap()));
    }

    #[test]
    fn a_template_that_would_fail_later_is_refused_now() {
        for (source, reason) in [
            ("Subject: x", "an empty line must divide"),
            ("Hello\n\nyou", "the first line must begin with"),
            ("Subject: {{ x\n\ny", "syntax error"),
            ("Subject: x\n\n{{ adress }}", "undefined value"),
            ("Subject: x\n\n{% if adress %}y{% endif %}", "undefined value"),
            ("Subject: x\n\n{% include 'passwords' %}", "template not found"),
        ] {
            let error = load(&[("order-paid.txt", source)]).unwrap_err();
            assert!(error.contains(reason), "{source:?}: {error}");
        }
        assert!(
            load(&[(".hidden.txt", "Subject: x\n\ny")])
                .unwrap_err()
                .contains("its name")
        );
        assert!(
            load(&[("large.txt", &"x".repeat(300_000))])
                .unwrap_err()
                .contains("larger")
        );
        assert!(Templates::load(Some(Path::new("/nowhere"))).is_err());
    }

    #[test]
    fn a_subject_is_one_line() {
        let templates = load(&[("order-paid.txt", "Subject: Dear {{ name }}!\n\nx")]).unwrap();
        let (subject, _) = render(&templates, ORDER_PAID, Some("Ada\r\nBcc: eve@example.com"));
        assert_eq!(subject, "Dear Ada Bcc: eve@example.com!");
        assert_eq!(
            render(&templates, ORDER_PAID, Some(&"x".repeat(500))).0.chars().count(),
            SUBJECT_CHARS_MAX
        );
    }
}
