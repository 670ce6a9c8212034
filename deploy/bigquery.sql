-- The rights of the service account, and no others, as statements of BigQuery: run in its console, or
-- by bq query --use_legacy_sql=false. Replace the project, the dataset and the account.
-- Rows and metadata of one dataset:
GRANT `roles/bigquery.dataViewer`
ON SCHEMA `your-project`.dataclient_amzatlas_agency_85
TO 'serviceAccount:sqp-refresh@your-project.iam.gserviceaccount.com';
-- Jobs, which aggregate, and read sessions, which stream rows, belong to the project that is billed,
-- BIGQUERY_JOB_PROJECT_ID where it is another one:
GRANT `roles/bigquery.jobUser`, `roles/bigquery.readSessionUser`
ON PROJECT `your-project`
TO 'serviceAccount:sqp-refresh@your-project.iam.gserviceaccount.com';
