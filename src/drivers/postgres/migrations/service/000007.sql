-- The place of the dead letters' next change; its file takes the place of this one.
select 1;
