-- What an expert would write for the next snapshot: the script of the first one into a schema beside
-- it, then the new schema takes the place of the old one. Views of analysts would go with that one.
\set target expert_next
\ir expert.sql
begin;
drop schema if exists expert cascade;
alter schema expert_next rename to expert;
commit;
