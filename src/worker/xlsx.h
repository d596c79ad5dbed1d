/* What the parts of an XLSX file share: Office Open XML, ECMA-376 part 1, SpreadsheetML (18). The encoder (xlsx.c)
 * writes the XML of sheets, the packer (workbook.h) makes a file of it. Limits are Excel's:
 * https://support.microsoft.com/office/1672b34d-7043-467e-8e27-269d656771c3 */
#ifndef WORKER_XLSX_H
#define WORKER_XLSX_H

#define XLSX_ROWS_MAX 1048576 /* of a sheet, its header among them */
#define XLSX_COLUMNS_MAX 16384
#define XLSX_TEXT_MAX 32767 /* UTF-16 units of a cell */

/* An encoder knows no row's number, and not in which sheet the row will be. In its XML two bytes, which XML cannot
 * have, stand for what the packer knows: where a row begins, the tag <row r="7">; where a cell's reference has its
 * row, the 7. */
#define XLSX_ROW 0x01
#define XLSX_ROW_NUMBER 0x02

/* Behind a sheet's last row. The packer writes it: it also ends sheets in the middle of the rows. */
#define XLSX_SHEET_END "</sheetData></worksheet>"

/* What a cell's attribute `s` says: numbers of the cellXfs in the packer's styles. */
enum xlsx_style {
    XLSX_GENERAL,
    XLSX_HEADER,       /* bold */
    XLSX_INTEGER,      /* all digits; General would show more than eleven with an exponent */
    XLSX_DATE,         /* yyyy-mm-dd */
    XLSX_TIMESTAMP,    /* yyyy-mm-dd hh:mm:ss, */
    XLSX_TIMESTAMP_MS, /* and milliseconds */
    XLSX_TIME,         /* hh:mm:ss, */
    XLSX_TIME_MS       /* and milliseconds */
};

#endif
