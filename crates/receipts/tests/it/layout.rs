//! The content of receipts. The PDF files stay in `target/tmp`, to be looked at.

use receipts::ReceiptError;

use crate::support::{ORDER_ID, line, order, pages, receipt, render};

#[test]
fn receipt_has_the_fields_of_a_simplified_qualified_invoice() {
    let pdf = render(
        "mixed-rates",
        &[
            line("宇治新茶 浅蒸し煎茶 80g", 1_620, 2, "reduced"),
            line("Paper lantern", 3_300, 1, "standard"),
            line("濃茶用抹茶 30g缶", 4_860, 1, "reduced"),
        ],
    );
    assert_eq!(
        pages(&pdf),
        [[
            "領収書",
            "適格簡易請求書",
            ORDER_ID,
            "領収書番号",
            // The order was completed on 31 December in UTC.
            "2027年1月1日",
            "取引年月日",
            "領収金額（税込）",
            "¥11,400",
            "ご注文の代金として、上記の金額を領収いたしました。",
            "株式会社まつり",
            "〒111-0032 東京都台東区浅草二丁目3番1号 まつりビル5階",
            "登録番号 T1234567890123",
            "品名",
            "税率",
            "数量",
            "単価",
            "金額",
            "宇治新茶 浅蒸し煎茶 80g",
            "※8％",
            "2",
            "¥1,620",
            "¥3,240",
            "Paper lantern",
            "10％",
            "1",
            "¥3,300",
            "¥3,300",
            "濃茶用抹茶 30g缶",
            "※8％",
            "1",
            "¥4,860",
            "¥4,860",
            "税率別内訳",
            "税込金額",
            "うち消費税",
            "10％対象",
            "¥3,300",
            "¥300",
            "8％対象※",
            "¥8,100",
            "¥600",
            "合計",
            "¥11,400",
            "¥900",
            "単価と金額は税込です。",
            "※は軽減税率（8％）の対象です。",
            &format!("領収書番号 {ORDER_ID}"),
            "1 / 1",
        ]]
    );
}

#[test]
fn receipt_without_reduced_lines_has_no_note_about_them() {
    let pages = pages(&render("standard-rate", &[line("提灯", 2_420, 1, "standard")]));
    let text = pages.concat().join("\n");
    assert!(text.contains("10％対象\n¥2,420\n¥220"), "{text}");
    assert!(!text.contains('※') && !text.contains("8％"), "{text}");
}

#[test]
fn hundred_lines_take_several_pages_with_the_totals_on_the_last() {
    let long = "Hand-stretched somen from Shodoshima in a cedar box, dried for two winters. ".repeat(2);
    let lines: Vec<_> = (0..100)
        .map(|number| match number % 3 {
            0 => line(&format!("{number} {long}"), 99_999_999, 1, "reduced"),
            1 => line(&format!("{number} {}", "鉄瓶".repeat(90)), 1, 9_999, "standard"),
            _ => line(&format!("{number} 提灯"), 165, 3, "standard"),
        })
        .collect();
    let pages = pages(&render("hundred-lines", &lines));
    assert_eq!(pages.len(), 6, "{pages:#?}");
    let shown = |text: &str| {
        pages
            .iter()
            .filter(|page| page.iter().any(|line| line == text))
            .count()
    };
    assert_eq!((shown("品名"), shown("税率別内訳"), shown("合計")), (6, 1, 1));
    assert!(pages[5].contains(&"合計".to_owned()));
    for (number, page) in pages.iter().enumerate() {
        assert_eq!(page.last().unwrap(), &format!("{} / 6", number + 1));
    }
    for number in 0..100 {
        let start = format!("{number} ");
        let found = pages.concat().iter().any(|line| line.starts_with(&start));
        assert!(found, "line {number} is missing");
    }
}

#[test]
fn totals_that_do_not_fit_get_a_page_of_their_own() {
    // The first page has room for 18 lines of one row, or for fewer with the totals.
    for count in 10..25 {
        let lines: Vec<_> = (0..count).map(|_| line("提灯", 165, 1, "standard")).collect();
        let pages = pages(&render("page-break", &lines));
        let rows = |page: &Vec<String>| page.iter().filter(|line| *line == "提灯").count();
        assert_eq!(pages.iter().map(rows).sum::<usize>(), count);
        assert!(pages.last().unwrap().contains(&"合計".to_owned()));
    }
}

#[test]
fn product_name_cannot_forge_another_line() {
    let name = "Tea\u{202E}000,1¥\r\n合計\u{2028}¥1\u{0}\u{200B} <b>🍵</b> שלום か\u{3099}";
    let pages = pages(&render("untrusted-name", &[line(name, 1_080, 1, "reduced")]));
    let page = &pages[0];
    let with_name: Vec<&String> = page.iter().filter(|line| line.starts_with("Tea")).collect();
    assert_eq!(with_name, ["Tea000,1¥ 合計 ¥1 <b>〓</b> 〓〓〓〓 が"]);
    assert_eq!(page.iter().filter(|line| *line == "合計").count(), 1);
}

#[test]
fn same_order_gives_the_same_bytes() {
    let lines = [line("提灯", 500, 1, "standard")];
    assert_eq!(render("same-bytes", &lines), render("same-bytes", &lines));
}

#[test]
fn only_a_completed_order_whose_lines_add_up_has_a_receipt() {
    let lines = [line("提灯", 500, 1, "standard")];
    let mut pending = order(&lines);
    pending.status = domain::OrderStatus::Processing;
    assert!(matches!(receipt(&pending), Err(ReceiptError::NotCompleted(_))));
    let mut wrong = order(&lines);
    wrong.total_amount += 1;
    assert_eq!(receipt(&wrong), Err(ReceiptError::WrongTotal));
}
