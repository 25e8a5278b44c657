//! The file: order history with the columns of the UCI "Online Retail" data set.

use std::io::Read;

use anyhow::{Context as _, Result, bail};

/// The columns, by name; their order does not matter, and others are ignored.
pub const COLUMNS: [&str; 8] = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
];

/// A row as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its line in the file, from 2 (the header is 1).
    pub line: u64,
    /// Its fields, in the order of [`COLUMNS`].
    pub fields: [String; 8],
}

impl Row {
    /// The invoice; one that starts with C takes something back.
    pub fn invoice(&self) -> &str {
        self.fields[0].trim()
    }

    /// The article.
    pub fn stock_code(&self) -> &str {
        self.fields[1].trim()
    }

    /// What it is; may be empty.
    pub fn description(&self) -> &str {
        self.fields[2].trim()
    }

    /// How many, as written.
    pub fn quantity(&self) -> &str {
        self.fields[3].trim()
    }

    /// What a piece costs, as written.
    pub fn unit_price(&self) -> &str {
        self.fields[5].trim()
    }

    /// Who; empty if nobody knows.
    pub fn customer(&self) -> &str {
        self.fields[6].trim()
    }
}

/// Reads all rows. A file with other columns, or one that is no CSV, is refused with the line.
pub fn read(file: impl Read) -> Result<Vec<Row>> {
    let mut reader = csv::Reader::from_reader(file);
    let header = reader.byte_headers().context("the file has no header")?.clone();
    let header: Vec<String> = header
        .iter()
        .map(|name| text(name).trim_start_matches('\u{feff}').trim().to_owned())
        .collect();
    let mut places = [0; 8];
    for (place, column) in places.iter_mut().zip(COLUMNS) {
        match header.iter().position(|name| name == column) {
            Some(found) => *place = found,
            None => bail!("the file has no column {column}; it needs {}", COLUMNS.join(", ")),
        }
    }
    let mut rows = Vec::new();
    for record in reader.byte_records() {
        let record = record.context("the file cannot be read as CSV")?;
        let line = record.position().map_or(0, csv::Position::line);
        rows.push(Row {
            line,
            fields: places.map(|place| text(record.get(place).unwrap_or_default())),
        });
    }
    Ok(rows)
}

/// The data set is in Latin-1 where it is not ASCII; newer exports are in UTF-8.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_in_any_order_and_encoding() {
        let file = b"\xef\xbb\xbfCountry,InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID\n\
            France,1,A,\"CAF\xc9, LARGE\",2,12/1/2010 8:26,1.5,7\n";
        let rows = read(&file[..]).unwrap();
        assert_eq!(
            (rows[0].line, rows[0].invoice(), rows[0].description()),
            (2, "1", "CAFÉ, LARGE")
        );
        assert_eq!(
            (rows[0].quantity(), rows[0].unit_price(), rows[0].customer()),
            ("2", "1.5", "7")
        );
    }

    #[test]
    fn a_file_without_a_column_is_refused_by_its_name() {
        let error = read(&b"InvoiceNo,StockCode\n1,A\n"[..]).unwrap_err().to_string();
        assert!(error.contains("no column Description"), "{error}");
    }
}
