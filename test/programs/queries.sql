select count(*), sum(k), group_concat(substr(v, 1, 3)) from t where id < 500;
select k, count(*) c from t group by k order by c desc, k limit 20;
update t set v = upper(v) || k where k < 50;
delete from t where k > 900;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000)
  select sum(i), printf('%.6f', avg(i * 0.1)) from n;
select a.k, count(*) from t a join t b on a.k = b.k and a.id < b.id
  where a.k between 10 and 20 group by a.k;
create view w as select k, max(length(v)) m from t group by k;
select sum(m), hex(substr(group_concat(m), 1, 20)) from w;
insert into t values (1, 2, 'taken');
select json_group_array(k) from (select distinct k from t order by k limit 30);
.mode box
select * from t order by v limit 5;
.schema
vacuum;
pragma integrity_check;
select * from no_such_table;
